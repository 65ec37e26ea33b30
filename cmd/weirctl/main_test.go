package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestHelp has the summary in one column, and `help VERB` tell the same as `VERB --help`.
func TestHelp(t *testing.T) {
	said := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if status := run(t.Context(), args, stdio{nil, &out, &errs}); status != exitOK || errs.Len() > 0 {
			t.Fatalf("%q: status %d, errors %q", args, status, errs.String())
		}
		return out.String()
	}
	all := said("help")
	column := -1
	for _, v := range verbs() {
		if got, want := said("help", v.name), said(v.name, "--help"); got != want || !strings.HasPrefix(got, "usage: weirctl "+v.name) {
			t.Errorf("help %s:\n%s\n%s --help:\n%s", v.name, got, v.name, want)
		}
		for line := range strings.Lines(all) {
			at := strings.Index(line, "  "+v.summary)
			if at < 0 {
				continue
			}
			if column >= 0 && at != column {
				t.Errorf("not in column %d: %s", column, line)
			}
			column = at
		}
	}
	if column < 0 {
		t.Errorf("no summaries in\n%s", all)
	}
}

func TestUnreachableAdmin(t *testing.T) {
	for _, tt := range []struct{ name, address, want string }{
		{"no port", "localhost", "weirctl top: admin interface at \"localhost\": it is HOST:PORT or unix:PATH\n"},
		{
			"nobody", "unix:/nowhere/weir.sock",
			"weirctl top: reach weir's admin interface at unix:/nowhere/weir.sock: dial unix /nowhere/weir.sock: connect: no such file or directory\n" +
				"Is weir running? Say where its admin interface is with --admin ADDR, --admin unix:PATH or -c FILE\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(t.Context(), []string{"top", "--once", "--admin", tt.address}, stdio{nil, &out, &errs}); status != exitError || errs.String() != tt.want {
				t.Errorf("status %d, errors\n%s\nwant\n%s", status, errs.String(), tt.want)
			}
		})
	}
}
