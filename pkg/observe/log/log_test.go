package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustFormat(t *testing.T, pattern string) *Format {
	t.Helper()
	f, err := ParseFormat(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDefaultLine(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	New(Options{Output: &buf}).Logger("main").Warn("starting", "epoch", 0)
	want := regexp.MustCompile(`^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\]\[\d+\]\[warning\]\[main\] ` +
		`\[pkg/observe/log/log_test\.go:\d+\] starting epoch=0\n$`)
	if !want.Match(buf.Bytes()) {
		t.Errorf("got %q", buf.String())
	}
}

type nilError struct{}

func (e *nilError) Error() string { return fmt.Sprint(*e) }

type textual struct{}

func (textual) MarshalText() ([]byte, error) { return []byte("as text"), nil }

func TestAttributes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		log  func(l *slog.Logger)
		want string
	}{
		{"none", func(l *slog.Logger) { l.Info("m") }, "m"},
		{"kinds", func(l *slog.Logger) {
			l.Info("m", "i", -1, "u", uint64(7), "f", 1.5, "b", true, "d", 1500*time.Millisecond, "t", time.Unix(0, 0).UTC())
		}, "m i=-1 u=7 f=1.5 b=true d=1.5s t=1970-01-01T00:00:00Z"},
		{
			"quoting", func(l *slog.Logger) { l.Info("m", "a", "x y", "b", "", "c", "k=v", "d", "l\nl", "e", `"`, "f", "ä") },
			`m a="x y" b="" c="k=v" d="l\nl" e="\"" f=ä`,
		},
		{
			"error", func(l *slog.Logger) { l.Info("m", "error", fmt.Errorf("dial: %w", errors.New("refused"))) },
			`m error="dial: refused"`,
		},
		{"address", func(l *slog.Logger) { l.Info("m", "peer", netip.MustParseAddrPort("[::1]:80")) }, "m peer=[::1]:80"},
		{"text marshaler", func(l *slog.Logger) { l.Info("m", "x", textual{}) }, `m x="as text"`},
		{
			"panicking value", func(l *slog.Logger) { l.Info("m", "error", (*nilError)(nil)) },
			`m error="!PANIC: runtime error: invalid memory address or nil pointer dereference"`,
		},
		{"nil", func(l *slog.Logger) { l.Info("m", "x", nil) }, "m x=<nil>"},
		{
			"group", func(l *slog.Logger) {
				l.Info("m", slog.Group("g", "a", 1, slog.Group("h", "b", 2)), slog.Group("", "c", 3))
			},
			"m g.a=1 g.h.b=2 c=3",
		},
		{"with", func(l *slog.Logger) {
			base := l.With("a", 1)
			base.With("b", 2)
			base.With("c", 3).WithGroup("g").With("d", 4).WithGroup("").Info("m", "e", 5)
		}, "m a=1 c=3 g.d=4 g.e=5"},
		{"empty attribute", func(l *slog.Logger) { l.LogAttrs(context.Background(), slog.LevelInfo, "m", slog.Attr{}) }, "m"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			tt.log(New(Options{Output: &buf, Format: mustFormat(t, "%v")}).Logger("main"))
			if got := strings.TrimSuffix(buf.String(), "\n"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestTagsAsJSON(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	l := New(Options{Output: &buf, Format: mustFormat(t, `{"m":"%+"%*}`)}).Logger("main").With("a", `x"y`)
	l.Info("say \"hi\"\n", slog.Group("g", "n", 7))
	l.Info("bye")
	want := `{"m":"say \"hi\"\n","a":"x\"y","g.n":"7"}` + "\n" + `{"m":"bye","a":"x\"y"}` + "\n"
	if buf.String() != want {
		t.Errorf("got  %s\nwant %s", buf.String(), want)
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	r := New(Options{
		Output: &buf, Format: mustFormat(t, "%n %l %L %v"), Level: slog.LevelWarn,
		Components: map[string]slog.Level{"upstream": LevelTrace, "bpf": LevelOff},
	})
	for _, c := range []string{"main", "upstream", "bpf"} {
		for _, l := range []slog.Level{LevelTrace, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError, LevelCritical} {
			r.Logger(c).Log(t.Context(), l, "x")
		}
	}
	want := "main warning W x\nmain error E x\nmain critical C x\n" +
		"upstream trace T x\nupstream debug D x\nupstream info I x\nupstream warning W x\nupstream error E x\nupstream critical C x\n"
	if diff := cmp.Diff(want, buf.String()); diff != "" {
		t.Error(diff)
	}
}

func TestChangeLevels(t *testing.T) {
	t.Parallel()
	r := New(Options{Output: io.Discard})
	derived := r.Logger("router").With("a", 1)
	if err := r.Set("router", slog.LevelDebug); err != nil {
		t.Fatal(err)
	}
	if !derived.Enabled(t.Context(), slog.LevelDebug) || r.Logger("http").Enabled(t.Context(), slog.LevelDebug) {
		t.Error("a change must reach derived loggers of this component only")
	}
	err := r.SetSome(map[string]slog.Level{"http": LevelTrace, "nope": LevelTrace})
	if err == nil || !strings.Contains(err.Error(), "nope") || r.List()["http"] != slog.LevelInfo {
		t.Errorf("unknown name: %v, http at %v", err, r.List()["http"])
	}
	r.SetAll(slog.LevelError)
	for name, l := range r.List() {
		if l != slog.LevelError {
			t.Errorf("%s at %v after SetAll", name, l)
		}
	}
	if r.Logger("made later").Enabled(t.Context(), slog.LevelWarn) {
		t.Error("SetAll must hold for components made later")
	}
	names := r.Names()
	for _, want := range []string{"admin", "conn_handler", "made later", "upstream"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("not sorted: %v", names)
	}
}

func TestParseLevels(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]slog.Level{
		"trace": LevelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn,
		"warn": slog.LevelWarn, "error": slog.LevelError, "critical": LevelCritical, "off": LevelOff,
	} {
		got, err := ParseLevel(s)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
		if name := LevelName(got); name != s && s != "warn" {
			t.Errorf("%s prints as %s", s, name)
		}
	}
	got, err := ParseComponentLevels("upstream:debug,connection:trace")
	want := map[string]slog.Level{"upstream": slog.LevelDebug, "connection": LevelTrace}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if got, err := ParseComponentLevels(""); err != nil || len(got) != 0 {
		t.Errorf("empty: %v, %v", got, err)
	}
	for _, bad := range []string{"x", ":debug", "a:loud", "a:debug,", "a:DEBUG"} {
		if _, err := ParseComponentLevels(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "weir.log")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l := New(Options{Output: f, Format: mustFormat(t, "%v")}).Logger("main")
	l.Info("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Info("two")
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Info("three")
	for file, want := range map[string]string{path + ".1": "one\ntwo\n", path: "three\n"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err == nil {
		t.Error("reopening in a directory that is gone must fail")
	}
	if _, err := f.Write([]byte("four\n")); err != nil {
		t.Errorf("the old file must stay usable after a failed reopen: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path); err == nil {
		t.Error("opening in a directory that is gone must fail")
	}
}

func TestConcurrentLinesStayWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := New(Options{Output: f, Format: mustFormat(t, "%v")})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l := r.Logger(fmt.Sprint("c", i%3))
			for j := range 100 {
				l.Info("line", "x", strings.Repeat("y", 50))
				if j%40 == 0 {
					r.SetAll(slog.LevelDebug)
					if err := f.Reopen(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("line x="+strings.Repeat("y", 50)+"\n", 800)
	if string(got) != want {
		t.Errorf("%d bytes, want %d whole lines", len(got), 800)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDisabledLineDoesNotAllocate(t *testing.T) {
	l := New(Options{Output: io.Discard}).Logger("http").With("conn", 7)
	ctx := t.Context()
	addr := strings.Repeat("a", 40)
	n := 100_000
	for name, f := range map[string]func(){
		"Debug":    func() { l.Debug("x", "k", "constant") },
		"LogAttrs": func() { l.LogAttrs(ctx, LevelTrace, "x", slog.String("addr", addr), slog.Int("n", n)) },
		"Enabled":  func() { l.Enabled(ctx, LevelTrace) },
		"Discard":  func() { Discard().LogAttrs(ctx, slog.LevelInfo, "x", slog.Int("n", n)) },
	} {
		want := 0.0
		if name == "Discard" {
			want = 1 // the logger itself
		}
		if got := testing.AllocsPerRun(100, f); got > want {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

type fakeTB struct {
	lines   []string
	cleanup []func()
}

func (f *fakeTB) Helper()           {}
func (f *fakeTB) Log(args ...any)   { f.lines = append(f.lines, fmt.Sprint(args...)) }
func (f *fakeTB) Cleanup(fn func()) { f.cleanup = append(f.cleanup, fn) }

func TestForTest(t *testing.T) {
	t.Parallel()
	tb := &fakeTB{}
	l := ForTest(tb)
	l.Log(t.Context(), LevelTrace, "during")
	for _, fn := range tb.cleanup {
		fn()
	}
	l.Error("after the end")
	if len(tb.lines) != 1 || !strings.HasSuffix(tb.lines[0], " during") {
		t.Errorf("got %q", tb.lines)
	}
	ForTest(t).Info("real test")
	Discard().Error("nowhere")
}

func BenchmarkLine(b *testing.B) {
	l := New(Options{Output: io.Discard}).Logger("http")
	b.ReportAllocs()
	for b.Loop() {
		l.LogAttrs(b.Context(), slog.LevelInfo, "connected", slog.String("cluster", "web"), slog.Int("port", 80))
	}
}

func BenchmarkDisabled(b *testing.B) {
	l := New(Options{Output: io.Discard}).Logger("http")
	b.ReportAllocs()
	for b.Loop() {
		l.LogAttrs(b.Context(), slog.LevelDebug, "connected", slog.String("cluster", "web"), slog.Int("port", 80))
	}
}
