package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/await"
)

// older is a process that notes what it is told.
type older struct {
	rounds  Rounds
	sockets []Socket
	refuse  error
	calls   chan string
}

func (o *older) Begin(pid int) error {
	o.calls <- fmt.Sprintf("begin %t", pid == os.Getpid())
	return o.refuse
}

func (o *older) Origin() Origin           { return Origin{Start: time.Unix(1700000000, 0), Generation: 3} }
func (o *older) Statistics() Rounds       { return o.rounds }
func (o *older) Sockets() []Socket        { o.calls <- "sockets"; return o.sockets }
func (o *older) Done(limit time.Duration) { o.calls <- "done " + limit.String() }
func (o *older) Abort()                   { o.calls <- "abort" }
func (o *older) want(t *testing.T, w ...string) {
	t.Helper()
	for _, call := range w {
		select {
		case got := <-o.calls:
			if got != call {
				t.Errorf("the older process was told %q, want %q", got, call)
			}
		case <-time.After(await.Patience):
			t.Fatalf("the older process was not told %q", call)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func serve(t *testing.T, o *older) (name string) {
	t.Helper()
	name = fmt.Sprintf("@weir-handover-test-%d-%s", os.Getpid(), t.Name())
	s, err := Listen(name, 0, o, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return name
}

func TestSocketsArePassed(t *testing.T) {
	o := &older{calls: make(chan string, 8)}
	before := make(map[string]net.Listener)
	for _, key := range []string{"one", "two", "unclaimed"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		raw, err := ln.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		o.sockets = append(o.sockets, Socket{Key: key, Conn: raw})
		before[key] = ln
	}
	name := serve(t, o)
	p, err := Begin(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if p.PID() != os.Getpid() {
		t.Errorf("pid %d", p.PID())
	}
	if err := p.Sockets(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"one", "two"} {
		ln := p.Claim(key)
		if ln == nil || ln.Addr().String() != before[key].Addr().String() || p.Claim(key) != nil {
			t.Fatalf("socket %s: %v", key, ln)
		}
		defer ln.Close()
		// A connection that comes while both listen is there for the one that goes on.
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		before[key].Close()
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted.Close()
	}
	if err := p.Done(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	o.want(t, "begin true", "sockets", "done 1m0s")
	if _, err := Begin(t.Context(), name); !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), name) {
		t.Errorf("a second handover: %q", err)
	}
}

func TestBrokenHandover(t *testing.T) {
	o := &older{calls: make(chan string, 8)}
	name := serve(t, o)
	p, err := Begin(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Sockets(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Close()
	o.want(t, "begin true", "sockets", "abort")
	// It can be tried again.
	if p, err = Begin(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	p.Close()
	o.want(t, "begin true", "abort")
}

func TestRefusedHandover(t *testing.T) {
	o := &older{calls: make(chan string, 8), refuse: errors.New("not now")}
	if _, err := Begin(t.Context(), serve(t, o)); err == nil || !strings.Contains(err.Error(), "it refused: not now") {
		t.Errorf("refused: %v", err)
	}
	o.want(t, "begin true", "abort")
}

func TestOtherAnswers(t *testing.T) {
	name := filepath.Join(t.TempDir(), "socket")
	ln, err := net.ListenUnix("unixpacket", address(name))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	answers := make(chan string, 1)
	go func() {
		for {
			conn, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			if _, _, err := receive(conn); err == nil {
				if a := <-answers; a != "" {
					conn.Write([]byte(a))
					conn.Close()
				} else {
					defer conn.Close()
				}
			}
		}
	}()
	for _, tt := range []struct {
		answer, want string
		patience     time.Duration
	}{
		{"no JSON", "decode message", await.Patience},
		{`{"protocol":2,"verb":"ok"}`, "speaks version 2 of the protocol, this one 1", await.Patience},
		{`{"protocol":1,"verb":"socket","key":"x"}`, "a descriptor is missing", await.Patience},
		{`{"protocol":1,"verb":"done"}`, "answered begin with done", await.Patience},
		{"", "it does not answer; it may be stopped, or stuck", 200 * time.Millisecond},
	} {
		answers <- tt.answer
		ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
		_, err := Begin(ctx, name)
		cancel()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("answer %q: %v, want %q", tt.answer, err, tt.want)
		}
	}
}

func TestNameInUse(t *testing.T) {
	o := &older{calls: make(chan string, 8)}
	if _, err := Listen(serve(t, o), 0, o, slog.Default()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("abstract name: %v", err)
	}
	path := filepath.Join(t.TempDir(), "socket")
	stale, err := net.ListenUnix("unixpacket", address(path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o600, o, slog.Default()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("path: %v", err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	s, err := Listen(path, 0o600, o, quiet())
	if err != nil {
		t.Fatalf("path that was left behind: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"verb":"done","shutdown":1000}`))
	f.Add([]byte(`{"protocol":1,"verb":"socket","key":"capture:127.0.0.1"}`))
	f.Add([]byte(`{"protocol":1,"verb":"ok","origin":{"format":1,"start":"2026-01-02T03:04:05Z","generation":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err == nil && (m.Protocol != protocol || m.Verb == "" || m.Shutdown < 0) {
			t.Errorf("%q was taken for %+v", data, m)
		}
	})
}
