package listener

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// copies gives copies of a manager's sockets, as another process gets them.
func copies(t *testing.T, m *Manager) func(key string) net.Listener {
	t.Helper()
	all := map[string]net.Listener{}
	for _, p := range m.Pass() {
		err := p.Conn.Control(func(fd uintptr) {
			dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			f := os.NewFile(uintptr(dup), p.Key)
			defer f.Close()
			if all[p.Key], err = net.FileListener(f); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	return func(key string) net.Listener {
		ln := all[key]
		delete(all, key)
		return ln
	}
}

func TestSocketsPassToTheNextManager(t *testing.T) {
	first := newBed(t, nil)
	pipe := filepath.Join(t.TempDir(), "pipe")
	config := func(chain string) []*model.Listener {
		unixOne := &model.Listener{
			Resource: model.Resource{Name: "unix"}, Pipe: pipe, BindToPort: true, StatPrefix: "unix",
			FilterChains: []*model.FilterChain{plainChain(chain, model.FilterChainMatch{})},
		}
		return []*model.Listener{
			bound("fixed", "127.0.0.1:0", plainChain(chain, model.FilterChainMatch{})),
			bound("any", "[::]:0", plainChain(chain, model.FilterChainMatch{})),
			unixOne,
		}
	}
	first.mustApply(config("first")...)
	if err := first.OpenCapture(); err != nil {
		t.Fatal(err)
	}
	capture4, capture6 := first.CaptureAddrs()
	second := newBed(t, func(o *Options) { o.Inherit = copies(t, first.Manager) })
	second.mustApply(config("second")...)
	if err := second.OpenCapture(); err != nil {
		t.Fatal(err)
	}
	if v4, v6 := second.CaptureAddrs(); v4 != capture4 || v6 != capture6 {
		t.Errorf("capture sockets at %s and %s, want those of the first at %s and %s", v4, v6, capture4, capture6)
	}
	for _, name := range []string{"fixed", "any"} {
		if got, want := second.address(name), first.address(name); got != want {
			t.Errorf("listener %s at %s, want %s", name, got, want)
		}
	}
	first.StopAccepting()
	for _, name := range []string{"fixed", "any"} {
		answers(t, second.address(name), "second")
	}
	conn, err := net.Dial("unix", pipe)
	if err != nil {
		t.Fatalf("the file of the unix socket went with the first manager: %v", err)
	}
	defer conn.Close()
	if got := line(t, conn); got[:6] != "second" {
		t.Errorf("unix socket: %q", got)
	}
}

func TestInheritedSocketOfAnotherAddress(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, func(o *Options) { o.Inherit = func(string) net.Listener { return other } })
	b.mustApply(bound("one", "127.0.0.1:0", plainChain("x", model.FilterChainMatch{})))
	answers(t, b.address("one"), "x")
	if _, err := other.Accept(); err == nil {
		t.Error("the socket that does not fit is open still")
	}
}

func TestWaitingConnectionsAreServed(t *testing.T) {
	b := newBed(t, nil)
	b.mustApply(bound("one", "127.0.0.1:0", plainChain("x", model.FilterChainMatch{})))
	// The queue of a socket that no accept loop takes from.
	queue, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer queue.Close()
	waiting := &socket{key: "queue", ln: queue, stop: make(chan struct{})}
	for _, s := range b.openSockets() {
		waiting.target.Store(s.target.Load())
	}
	conn := dial(t, queue.Addr().String())
	b.Manager.mu.Lock()
	b.acceptRest(waiting)
	waiting.shut()
	b.Manager.mu.Unlock()
	if got := line(t, conn); got[:1] != "x" {
		t.Errorf("a connection that waited got %q", got)
	}
}
