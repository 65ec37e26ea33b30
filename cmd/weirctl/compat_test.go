package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/config/translate"
)

const compatPage = "../../docs/compatibility.md"

// compat runs the verb and returns its status and output.
func compat(t *testing.T, args ...string) (status int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status = runCompat(t.Context(), args, stdio{strings.NewReader(""), &stdout, &stderr})
	return status, stdout.String(), stderr.String()
}

// TestCompatibilityPage checks that the page in docs says what this build does.
func TestCompatibilityPage(t *testing.T) {
	if status, _, err := compat(t, "--check", compatPage); status != exitOK {
		t.Error(err)
	}
}

func TestCompat(t *testing.T) {
	status, tables, _ := compat(t)
	for _, want := range []string{"### `envoy.config.cluster.v3.Cluster`\n", "### `weir.interception.v1.Interception`\n", "### `envoy.extensions.filters.http.router.v3.Router`\n"} {
		if status != exitOK || !strings.Contains(tables, want) {
			t.Errorf("status %d; the tables lack %q", status, want)
		}
	}
	page, err := os.ReadFile(compatPage)
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(stale, bytes.Replace(page, []byte("- effective: "), []byte("- effective: `nonsense`, "), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, err := compat(t, "--check", stale); status != exitError || !strings.Contains(err, "out of date") {
		t.Errorf("stale page: status %d, %q", status, err)
	}
	if status, _, err := compat(t, "--write", stale); status != exitOK {
		t.Errorf("write: %q", err)
	}
	if again, err := os.ReadFile(stale); err != nil || !bytes.Equal(again, page) {
		t.Errorf("the page was not restored: %v", err)
	}
}

// TestExtensionsSayWhatTheyDo checks that no extension's configuration escapes the warnings about fields without effect.
func TestExtensionsSayWhatTheyDo(t *testing.T) {
	registry, err := agent.Registry()
	if err != nil {
		t.Fatal(err)
	}
	translator, err := translate.New(translate.Options{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := compat(t)
	for _, f := range translator.Extensions().List() {
		d := f.Config.ProtoReflect().Descriptor()
		if d.Fields().Len() > 0 && !strings.Contains(tables, "### `"+string(d.FullName())+"`") {
			t.Errorf("extension %s does not say what becomes of the fields of %s", f.Name, d.FullName())
		}
	}
}

func TestCompatRefuses(t *testing.T) {
	unmarked := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(unmarked, []byte("# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"no file", []string{"--check"}, exitUsage, "usage:"},
		{"unknown flag", []string{"--print", "x"}, exitUsage, "usage:"},
		{"missing file", []string{"--check", unmarked + "x"}, exitError, "read page"},
		{"no markers", []string{"--write", unmarked}, exitError, "the lines that mark the tables are missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if status, _, err := compat(t, tc.args...); status != tc.status || !strings.Contains(err, tc.want) {
				t.Errorf("status %d, %q", status, err)
			}
		})
	}
}
