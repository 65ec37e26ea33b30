package check_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/agent/options"
)

// TestOddFiles checks what is found where configuration is looked for and is none: each has an answer, and none is waited for.
func TestOddFiles(t *testing.T) {
	const good = "static_resources: {clusters: [{name: a, type: STATIC, load_assignment: {cluster_name: a}}]}\n"
	file := func(content string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o600) }
	}
	link := func(to string) func(string) error { return func(path string) error { return os.Symlink(to, path) } }
	for name, tc := range map[string]struct {
		entry string
		make  func(path string) error
		// named and found are parts of the first error when the entry is named, and when its directory is; empty for none.
		named, found string
	}{
		"pipe":             {"a.yaml", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file", "not a regular file"},
		"device":           {"a.yaml", link("/dev/zero"), "not a regular file", "not a regular file"},
		"broken link":      {"a.yaml", link("nowhere"), "no such file", "no such file"},
		"link to itself":   {"a.yaml", link("a.yaml"), "too many levels", "too many levels"},
		"loop":             {"a.yaml", link("."), "holds no .yaml", "holds no .yaml"},
		"empty directory":  {"a", func(path string) error { return os.Mkdir(path, 0o700) }, "holds no .yaml", "holds no .yaml"},
		"nothing":          {"a.yaml", file(""), "holds no configuration", ""},
		"only a comment":   {"a.yaml", file("# none\n"), "holds no configuration", ""},
		"tab":              {"a.yaml", file("static_resources:\n\tclusters: []\n"), "a.yaml:2: not valid YAML", "a.yaml:2: not valid YAML"},
		"byte order mark":  {"a.yaml", file("\ufeff" + good), "", ""},
		"CRLF":             {"a.yaml", file(strings.ReplaceAll("\ufeffstatic_resources:\n  clusters:\n  - nam: a\n", "\n", "\r\n")), "a.yaml:3:5: ", "a.yaml:3:5: "},
		"JSON with a mark": {"a.json", file("\ufeff{\"static_resources\": {}}"), "", ""},
		"Kubernetes":       {"a.yaml", file("apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Pod\n"), "expected one YAML document", ""},
		"large":            {"a.yaml", file(good + strings.Repeat("# filled up\n", 1<<20)), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tc.entry)
			if err := tc.make(path); err != nil {
				t.Fatal(err)
			}
			c := newChecker(t, options.Options{})
			for target, want := range map[string]string{path: tc.named, dir: tc.found} {
				f := c.Files([]string{target}, nil)
				if (f.Err() != nil) != (want != "") || !strings.Contains(f.Error(), want) {
					t.Errorf("%s: got %q, want %q", target, f.Error(), want)
				}
			}
		})
	}
}

// TestOthersGoOn checks that a file that is not there hides nothing of the others, and that a link to a directory that is named
// is followed.
func TestOthersGoOn(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "real", "a.yaml"), []byte("static_resources: {clusters: [{nam: a}]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	text := newChecker(t, options.Options{}).Files([]string{filepath.Join(dir, "nowhere"), filepath.Join(dir, "link")}, nil).Error()
	for _, want := range []string{"nowhere: stat", "link/a.yaml:1:32: "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
}
