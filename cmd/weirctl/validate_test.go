package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// validate runs the verb and returns its status and output.
func validate(t *testing.T, args ...string) (status int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status = runValidate(t.Context(), args, stdio{strings.NewReader(""), &stdout, &stderr})
	return status, stdout.String(), stderr.String()
}

// configured writes files and returns their directory.
func configured(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	goodBoot = "static_resources:\n  clusters:\n  - {name: a, type: STATIC, load_assignment: {cluster_name: a}}\n"
	warnBoot = "tracing: {}\n"
	badBoot  = "static_resources:\n  clusters:\n  - {name: a, typ: STATIC, load_assignment: {cluster_name: a}}\n"
)

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		flags      []string
		status     int
		out, err   string
	}{
		{"good", goodBoot, nil, exitOK, "boot.yaml: OK\n", ""},
		{"quiet", goodBoot, []string{"--quiet"}, exitOK, "", ""},
		{"warning", warnBoot, nil, exitOK, "boot.yaml: OK\n", "boot.yaml:1:1: warning: tracing: not supported"},
		{"strict", warnBoot, []string{"--strict"}, exitError, "boot.yaml: not usable\n", "boot.yaml:1:1: tracing: not supported"},
		{"reject unsupported", warnBoot, []string{"--reject-unsupported"}, exitError, "boot.yaml: not usable\n", "boot.yaml:1:1: tracing: not supported"},
		{"error", badBoot, nil, exitError, "boot.yaml: not usable\n", `boot.yaml:3:15: cluster "a": typ: unknown field "typ" in envoy.config.cluster.v3.Cluster (did you mean "type"?)`},
		{"unknown allowed", badBoot, []string{"--allow-unknown-static-fields"}, exitOK, "boot.yaml: OK\n", `boot.yaml:3:15: warning: cluster "a": typ: unknown field`},
		{"github", badBoot, []string{"--format", "github"}, exitError, "boot.yaml,line=3,col=15,title=weir%3A unknown-field::cluster \"a\": typ: unknown field", ""},
		{"resources", `"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster` + "\nname: a\nconnect_timeout: 1\n", nil, exitError, "boot.yaml: not usable\n", `boot.yaml:3:18: cluster "a": connect_timeout: expected a duration such as 0.25s, got the number 1 (did you mean 1s?)`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := configured(t, map[string]string{"boot.yaml": tc.text})
			status, out, errs := validate(t, append(tc.flags, dir)...)
			if status != tc.status || !strings.Contains(out, tc.out) || tc.out == "" && out != "" || !strings.Contains(errs, tc.err) || tc.err == "" && errs != "" {
				t.Errorf("status %d\n%s%s", status, out, errs)
			}
		})
	}
}

// TestValidateJSON holds the form that programs read.
func TestValidateJSON(t *testing.T) {
	dir := configured(t, map[string]string{"bad.yaml": badBoot, "boot.yaml": goodBoot})
	status, out, _ := validate(t, "--format=json", dir)
	var got struct {
		Findings []map[string]any
		Files    []struct {
			File   string
			Usable bool
		}
		Errors, Warnings int
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != exitError {
		t.Fatalf("status %d, %v", status, err)
	}
	if got.Errors != 1 || got.Warnings != 0 || len(got.Files) != 2 || got.Files[0].Usable || !got.Files[1].Usable {
		t.Errorf("report %s", out)
	}
	want := map[string]any{
		"severity": "error", "file": filepath.Join(dir, "bad.yaml"), "line": 3.0, "column": 15.0, "resource_type": "cluster", "resource_name": "a",
		"field": "typ", "code": "unknown-field", "message": `unknown field "typ" in envoy.config.cluster.v3.Cluster`, "suggestion": `did you mean "type"?`,
	}
	for k, v := range want {
		if len(got.Findings) != 1 || got.Findings[0][k] != v {
			t.Errorf("%s: want %v in %s", k, v, out)
		}
	}
}

// TestValidateStreams checks that what can be read only once is checked as files are, under its own name.
func TestValidateStreams(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, called string }{
		{"standard input", "-", "/dev/stdin"},
		{"standard input by path", "/dev/stdin", "/dev/stdin"},
		{"pipe", pipe, pipe},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var writer sync.WaitGroup
			defer writer.Wait()
			if tc.path == pipe {
				writer.Go(func() {
					if err := os.WriteFile(pipe, []byte(badBoot), 0o600); err != nil {
						t.Error(err)
					}
				})
			}
			var stdout, stderr bytes.Buffer
			status := runValidate(t.Context(), []string{tc.path}, stdio{strings.NewReader(badBoot), &stdout, &stderr})
			if status != exitError || stdout.String() != tc.called+": not usable\n" || !strings.HasPrefix(stderr.String(), tc.called+":3:15: ") {
				t.Errorf("status %d\n%s%s", status, stdout.String(), stderr.String())
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "weirctl-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestValidateUsage(t *testing.T) {
	for _, tc := range []struct {
		name   string
		args   []string
		status int
		err    string
	}{
		{"nothing", nil, exitUsage, "there is no file to check"},
		{"unknown flag", []string{"--fast", "x"}, exitUsage, "unknown option --fast"},
		{"unknown format", []string{"--format", "xml", "x"}, exitUsage, "want text, json or github"},
		{"missing file", []string{"testdata/nowhere"}, exitError, "no such file"},
		{"two types", []string{"--schema", "a", "b"}, exitUsage, "one TYPE"},
		{"unknown type", []string{"--schema", "envoy.config.cluster.v3.Clustr"}, exitError, "did you mean envoy.config.cluster.v3.Cluster?"},
		{"help", []string{"--help"}, exitOK, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if status, _, err := validate(t, tc.args...); status != tc.status || !strings.Contains(err, tc.err) {
				t.Errorf("status %d, %q", status, err)
			}
		})
	}
}

// TestSchema checks that the schemas are whole: every reference leads somewhere, and fields say what becomes of them.
func TestSchema(t *testing.T) {
	reference := regexp.MustCompile(`"\$ref": "#/\$defs/([^"]+)"`)
	for _, args := range [][]string{{"--schema"}, {"--schema", "resources"}, {"--schema=envoy.config.route.v3.RouteConfiguration"}} {
		status, out, err := validate(t, args...)
		var s struct {
			Schema string `json:"$schema"`
			Defs   map[string]struct {
				Properties map[string]map[string]any
				AllOf      []map[string]any
				AnyOf      []map[string]any
			} `json:"$defs"`
		}
		if e := json.Unmarshal([]byte(out), &s); e != nil || status != exitOK {
			t.Fatalf("%v: status %d, %q, %v", args, status, err, e)
		}
		if s.Schema != "https://json-schema.org/draft/2020-12/schema" || len(s.Defs) < 50 {
			t.Errorf("%v: %s with %d definitions", args, s.Schema, len(s.Defs))
		}
		for _, m := range reference.FindAllStringSubmatch(out, -1) {
			if _, ok := s.Defs[m[1]]; !ok {
				t.Errorf("%v: %s is not defined", args, m[1])
			}
		}
		action := s.Defs["envoy.config.route.v3.RouteAction"]
		if len(action.AllOf) == 0 {
			t.Errorf("%v: the alternatives of a route action are not told", args)
		}
		if len(s.Defs["google.protobuf.Any"].AllOf) < 10 {
			t.Errorf("%v: the known extensions are not told", args)
		}
		for _, field := range []string{"cluster", "cluster_header", "clusterHeader", "retry_policy"} {
			if action.Properties[field] == nil {
				t.Errorf("%v: a route action has no %s", args, field)
			}
		}
	}
	_, out, _ := validate(t, "--schema", "envoy.config.listener.v3.Listener")
	for _, want := range []string{"Not supported by weir: the field has no effect, or is refused.", "Accepted without effect: weir has no worker threads", "seconds with an s"} {
		if !strings.Contains(out, want) {
			t.Errorf("the schema lacks %q", want)
		}
	}
}
