package listener

import (
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// answers checks who serves at an address.
func answers(t *testing.T, addr, want string) {
	t.Helper()
	if got := line(t, dial(t, addr)); !strings.HasPrefix(got, want+" ") {
		t.Errorf("at %s answers %q, want %s", addr, got, want)
	}
}

// openSockets are the sockets by key.
func (b *bed) openSockets() map[string]*socket {
	b.Manager.mu.Lock()
	defer b.Manager.mu.Unlock()
	return maps.Clone(b.sockets)
}

func TestListenersMove(t *testing.T) {
	one, two := plainChain("one", model.FilterChainMatch{}), plainChain("two!", model.FilterChainMatch{})
	x, y, z := free(t), free(t), free(t)
	for _, tc := range []struct {
		name     string
		next     [2]string
		keepsAll bool
	}{
		{name: "exchange", next: [2]string{y, x}, keepsAll: true},
		{name: "into a place that is left", next: [2]string{y, z}},
		{name: "the other way round", next: [2]string{z, x}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t, nil)
			b.mustApply(bound("one", x, one), bound("two", y, two))
			before := b.openSockets()
			b.mustApply(bound("one", tc.next[0], one), bound("two", tc.next[1], two))
			answers(t, tc.next[0], "one one")
			answers(t, tc.next[1], "two! two")
			after := b.openSockets()
			if len(after) != 2 {
				t.Errorf("%d sockets are open", len(after))
			}
			for key, s := range after {
				if before[key] != nil && before[key] != s {
					t.Errorf("the socket %s was closed in between", key)
				}
			}
			if tc.keepsAll && !maps.Equal(before, after) {
				t.Errorf("sockets %v were %v", after, before)
			}
		})
	}
}

// A listener that cannot move leaves its socket to the one that took it, and gets one again when it can.
func TestMoveFailsHalfWay(t *testing.T) {
	b := newBed(t, nil)
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	one, two := plainChain("one", model.FilterChainMatch{}), plainChain("two!", model.FilterChainMatch{})
	x, y := free(t), free(t)
	b.mustApply(bound("one", x, one), bound("two", y, two))
	next := []*model.Listener{bound("one", y, one), bound("two", busy.Addr().String(), two)}
	if errs := b.apply(next...); len(errs) != 1 {
		t.Fatalf("errors: %v", errs)
	}
	answers(t, y, "one one")
	busy.Close()
	b.mustApply(next...)
	answers(t, y, "one one")
	answers(t, busy.Addr().String(), "two! two")
}

func TestSocketOptionsChange(t *testing.T) {
	main := plainChain("main", model.FilterChainMatch{})
	b := newBed(t, nil)
	addr := free(t)
	with := func(change func(*model.Listener)) *model.Listener {
		l := bound("web", addr, main)
		change(l)
		return l
	}
	for _, tc := range []struct {
		name   string
		change func(*model.Listener)
	}{
		{name: "none", change: func(*model.Listener) {}},
		{name: "backlog", change: func(l *model.Listener) { l.TCPBacklog = 7 }},
		{name: "default backlog", change: func(*model.Listener) {}},
		{name: "freebind", change: func(l *model.Listener) { l.Freebind = true }},
		{name: "transparent", change: func(l *model.Listener) { l.Transparent = true }},
		{name: "none again", change: func(*model.Listener) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name == "transparent" && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			before := b.openSockets()
			b.mustApply(with(tc.change))
			answers(t, addr, "main web")
			if len(before) > 0 && !maps.Equal(before, b.openSockets()) {
				t.Error("the socket was closed in between")
			}
		})
	}
}

// Sockets that are in each other's way without having one address.
func TestSocketsInTheWay(t *testing.T) {
	main := plainChain("main", model.FilterChainMatch{})
	b := newBed(t, nil)
	addr := free(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, next := range []string{addr, "0.0.0.0:" + port, addr} {
		b.mustApply(bound("web", next, main))
		answers(t, addr, "main web")
	}
	b.mustApply(bound("other", "0.0.0.0:"+port, main))
	answers(t, addr, "main other")
}

func TestUnixSocketChangesMode(t *testing.T) {
	main := plainChain("main", model.FilterChainMatch{})
	b := newBed(t, nil)
	path := filepath.Join(t.TempDir(), "s")
	for _, mode := range []uint32{0, 0o600, 0o660, 0} {
		b.mustApply(&model.Listener{Resource: model.Resource{Name: "web"}, Pipe: path, PipeMode: mode, BindToPort: true, FilterChains: []*model.FilterChain{main}})
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatalf("mode %o: %v", mode, err)
		}
		c.Close()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); mode != 0 && got != os.FileMode(mode) {
			t.Errorf("mode is %o, want %o", got, mode)
		}
	}
}

func TestPortSharedWithTheWildcardAddress(t *testing.T) {
	b := newBed(t, nil)
	addr := free(t)
	_, port, _ := net.SplitHostPort(addr)
	listener := func(name, ip string) *model.Listener {
		return bound(name, net.JoinHostPort(ip, port), plainChain(name, model.FilterChainMatch{}))
	}
	one, all, third := listener("one", "127.0.0.1"), listener("wildcard", "0.0.0.0"), listener("third", "127.0.0.3")
	serves := func(ip, want string) {
		t.Helper()
		if got := line(t, dial(t, net.JoinHostPort(ip, port))); !strings.HasPrefix(got, want+" ") {
			t.Errorf("%s is answered by %q, want %s", ip, got, want)
		}
	}
	b.mustApply(one)
	b.mustApply(one, all)
	serves("127.0.0.1", "one")
	serves("127.0.0.2", "wildcard")
	b.mustApply(one, all, third)
	serves("127.0.0.3", "third")
	b.mustApply(all, third)
	serves("127.0.0.1", "wildcard")
	serves("127.0.0.3", "third")
}

func TestPortOfAnotherProcessIsNotShared(t *testing.T) {
	b := newBed(t, nil)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	b.mustApply(bound("one", "127.0.0.2:"+port, plainChain("one", model.FilterChainMatch{})))
	errs := b.apply(
		bound("one", "127.0.0.2:"+port, plainChain("one", model.FilterChainMatch{})),
		bound("wildcard", "0.0.0.0:"+port, plainChain("wildcard", model.FilterChainMatch{})))
	if len(errs) != 1 || !errors.Is(errs[0], syscall.EADDRINUSE) {
		t.Errorf("errors %v, want that the address is in use", errs)
	}
}
