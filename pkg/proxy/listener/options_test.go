package listener

import (
	"errors"
	"maps"
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// optionAt reads an option of the socket at an address.
func optionAt(t *testing.T, b *bed, addr string, level, name int) int {
	t.Helper()
	b.Manager.mu.Lock()
	defer b.Manager.mu.Unlock()
	for _, s := range b.Manager.sockets {
		if s.bound.String() != addr {
			continue
		}
		value := 0
		err := s.option("for the test", func(fd int) (err error) {
			value, err = unix.GetsockoptInt(fd, level, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	t.Fatalf("nothing listens at %s", addr)
	return 0
}

func keepIdle(seconds int) model.SocketOption {
	return model.SocketOption{Level: unix.IPPROTO_TCP, Name: unix.TCP_KEEPIDLE, Int: seconds, Late: seconds%2 == 0}
}

// A changed option means another socket, which takes the place of the one before.
func TestConfiguredSocketOptions(t *testing.T) {
	b := newBed(t, nil)
	addr := free(t)
	l := func(chain string, options ...model.SocketOption) *model.Listener {
		l := bound("web", addr, plainChain(chain, model.FilterChainMatch{}))
		l.SocketOptions = options
		return l
	}
	idle := func() int { return optionAt(t, b, addr, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE) }
	b.mustApply(l("first"))
	usual, first := idle(), b.openSockets()
	before := dial(t, addr)
	line(t, before)
	for _, step := range []struct {
		name    string
		options []model.SocketOption
		want    int
	}{
		{"set after it listens", []model.SocketOption{keepIdle(22)}, 22},
		{"set before bind", []model.SocketOption{keepIdle(23)}, 23},
		{"none", nil, usual},
		{"of the other family", []model.SocketOption{{Level: unix.IPPROTO_TCP, Name: unix.TCP_KEEPIDLE, Int: 5, IPv6Only: true}}, usual},
	} {
		b.mustApply(l(step.name, step.options...))
		if got := idle(); got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
		if got := optionAt(t, b, addr, unix.SOL_SOCKET, unix.SO_REUSEPORT); got != 0 {
			t.Errorf("%s: another process could have the port, too", step.name)
		}
		if got := line(t, dial(t, addr)); !strings.HasPrefix(got, step.name+" ") {
			t.Errorf("%s: served by %q", step.name, got)
		}
	}
	last := b.openSockets()
	if len(first) != 1 || len(last) != 1 || maps.Equal(first, last) {
		t.Errorf("%d and %d sockets are open", len(first), len(last))
	}
	b.mustApply(l("again"))
	if !maps.Equal(b.openSockets(), last) {
		t.Error("the same options have another socket")
	}
}

// What cannot be set leaves the version before as it was.
func TestSocketOptionThatCannotBeSet(t *testing.T) {
	b := newBed(t, nil)
	addr, other := free(t), free(t)
	l := func(chain string, addr string, late bool, name int) *model.Listener {
		l := bound(chain, addr, plainChain(chain, model.FilterChainMatch{}))
		l.SocketOptions = []model.SocketOption{{Level: unix.IPPROTO_TCP, Name: name, Int: 1, Late: late}}
		return l
	}
	good := l("web", addr, false, unix.TCP_NODELAY)
	b.mustApply(good)
	for _, late := range []bool{false, true} {
		errs := b.apply(l("web", addr, late, 9999), l("new", other, late, 9999))
		if len(errs) != 2 {
			t.Fatalf("%v", errs)
		}
		for _, err := range errs {
			if !errors.Is(err, syscall.ENOPROTOOPT) || !strings.Contains(err.Error(), "set socket option 9999 of level 6: protocol not available") {
				t.Errorf("late %v: %v", late, err)
			}
		}
		if got := line(t, dial(t, addr)); !strings.HasPrefix(got, "web ") {
			t.Errorf("the version before: %q", got)
		}
		if got := optionAt(t, b, addr, unix.SOL_SOCKET, unix.SO_REUSEPORT); got != 0 {
			t.Error("another process could have the port, too")
		}
		if _, err := net.Dial("tcp", other); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the new listener: %v", err)
		}
	}
	b.mustApply(good)
}

// A socket that another process has opened keeps what it has, and gets what it lacks.
func TestSocketOptionsOfAnInheritedSocket(t *testing.T) {
	v6only := model.SocketOption{Level: unix.SOL_IPV6, Name: unix.IPV6_V6ONLY, Int: 1} // cannot be set once it is bound
	first := newBed(t, nil)
	l := bound("web", "[::1]:0", plainChain("first", model.FilterChainMatch{}))
	l.SocketOptions = []model.SocketOption{v6only}
	first.mustApply(l)
	second := newBed(t, func(o *Options) { o.Inherit = copies(t, first.Manager) })
	next := bound("web", "[::1]:0", plainChain("second", model.FilterChainMatch{}))
	next.SocketOptions = []model.SocketOption{v6only, keepIdle(24)}
	second.mustApply(next)
	addr := first.address("web")
	if second.address("web") != addr {
		t.Fatal("the socket was not taken over")
	}
	if got := optionAt(t, second, addr, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); got != 24 {
		t.Errorf("%d, want 24", got)
	}
}
