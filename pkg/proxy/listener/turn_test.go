package listener

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/test/await"
)

// byItself is a terminal filter whose connections go on by themselves. The first byte says how.
type byItself struct {
	mu      sync.Mutex
	waiting chan struct{} // closed to let those go on that wait
	later   []func()
}

func (f *byItself) Serve(context.Context, *filter.Connection) bool { panic("Begin is to be called") }

func (f *byItself) Begin(ctx context.Context, c *filter.Connection, done func()) {
	conn.Waits(ctx) // for the byte
	var how [1]byte
	if _, err := io.ReadFull(c.Conn, how[:]); err != nil {
		done()
		return
	}
	switch how[0] {
	case 'p':
		panic("of the test")
	case 'w':
		<-f.waiting
	case 'l':
		f.mu.Lock()
		f.later = append(f.later, done)
		f.mu.Unlock()
		_, _ = c.Conn.Write([]byte("later\n"))
		return
	}
	_, _ = c.Conn.Write([]byte("now\n"))
	_ = c.Conn.Close()
	done()
}

func TestConnectionsThatGoOnByThemselves(t *testing.T) {
	f := &byItself{waiting: make(chan struct{})}
	b := newBed(t, func(o *Options) {
		o.NewFilter = func(*model.Listener, *model.FilterChain, *model.NetworkFilter) (filter.Network, error) { return f, nil }
	})
	l := bound("web", "127.0.0.1:0", plainChain("main", model.FilterChainMatch{}))
	l.StatPrefix = "web"
	b.mustApply(l)
	addr := b.address("web")
	destroyed := func(n uint64) func() bool {
		return func() bool { return b.counter("listener.web.downstream_cx_destroy") == n }
	}

	held := dial(t, addr)
	io.WriteString(held, "w")
	broken := dial(t, addr)
	io.WriteString(broken, "p")
	if _, err := broken.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a panic: read %v", err)
	}
	await.True(t, "the broken one is counted out", destroyed(1))
	second := dial(t, addr)
	io.WriteString(second, "n")
	if got := line(t, second); got != "now" {
		t.Errorf("beside one that waits: %q", got)
	}
	await.True(t, "the second one is counted out", destroyed(2))
	later := dial(t, addr)
	io.WriteString(later, "l")
	if got := line(t, later); got != "later" {
		t.Errorf("got %q", got)
	}
	if got := b.store.Root().Gauge("listener.web.downstream_cx_active").Value(); got != 2 {
		t.Errorf("%d connections are active, want 2", got)
	}
	f.mu.Lock()
	f.later[0]()
	f.mu.Unlock()
	if got := line(t, later); got != "!EOF" {
		t.Errorf("after its end: %q", got)
	}
	close(f.waiting)
	if got := line(t, held); got != "now" {
		t.Errorf("the one that waited: %q", got)
	}
	await.True(t, "all are counted out", destroyed(4))
	if b.counter("weir.listener.filter_panic") != 1 {
		t.Error("the panic was not counted")
	}
}

// TestQueueIsSharedOut: a goroutine serves a few connections that wait already by itself, and gives others away.
func TestQueueIsSharedOut(t *testing.T) {
	b := newBed(t, nil)
	s := &socket{stop: make(chan struct{})}
	tn := b.newTurn(s)
	here := conn.Accepted{}
	for n := range patience {
		if tn.keeps(here) != tn {
			t.Fatalf("connection %d of a queue was given away", n+1)
		}
	}
	if tn.keeps(here) != nil {
		t.Error("a long queue is served by one goroutine")
	}
	if tn.keeps(conn.Accepted{Waited: true}) != tn || tn.keeps(here) != tn {
		t.Error("the first ones after a pause were given away")
	}
}
