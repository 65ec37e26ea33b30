package listener

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// speaker says a word and then waits for the client to close.
type speaker struct {
	word   string
	closed chan struct{}
}

func (s *speaker) Serve(_ context.Context, c *filter.Connection) bool {
	_, _ = io.WriteString(c.Conn, s.word)
	_, _ = io.Copy(io.Discard, c.Conn)
	return false
}

func (s *speaker) Close() error { close(s.closed); return nil }

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// hear dials and returns the word, empty when the connection is closed without one.
func hear(t *testing.T, addr string) (net.Conn, string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	buf := make([]byte, 16)
	n, _ := c.Read(buf)
	return c, string(buf[:n])
}

func TestNetworkFilterByDiscovery(t *testing.T) {
	var current atomic.Pointer[model.FilterConfig]
	say := func(word string) *speaker { return &speaker{word, make(chan struct{})} }
	config := func(s *speaker) *model.FilterConfig {
		return &model.FilterConfig{TypeURL: "t", Config: s, Terminal: true}
	}
	b := newBed(t, func(o *Options) {
		o.FilterConfig = func(string) *model.FilterConfig { return current.Load() }
		o.NewFilter = func(_ *model.Listener, _ *model.FilterChain, f *model.NetworkFilter) (filter.Network, error) {
			if s, ok := f.Config.(*speaker); ok {
				return s, nil
			}
			return nil, errors.New("no such thing")
		}
	})
	d := &model.FilterDiscovery{Kind: model.NetworkFilterKind, TypeURLs: []string{"t"}, Terminal: true}
	l := bound("l", "127.0.0.1:0", &model.FilterChain{Name: "c", Filters: []*model.NetworkFilter{{Name: "n", Discovery: d}}})
	l.StatPrefix = "l"
	b.mustApply(l)
	addr := b.address("l")
	heard := func(want string) net.Conn {
		t.Helper()
		c, got := hear(t, addr)
		if got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
		return c
	}
	heard("")
	if n := b.counter("listener.l.network_extension_config_missing"); n != 1 {
		t.Errorf("network_extension_config_missing = %d", n)
	}
	one, two := say("one"), say("two")
	current.Store(config(one))
	old := heard("one")
	current.Store(config(two))
	heard("two")
	if isClosed(one.closed) {
		t.Error("a filter was closed while it serves")
	}
	_ = old.Close()
	<-one.closed
	for _, bad := range []*model.FilterConfig{{TypeURL: "t", Config: "nothing", Terminal: true}} {
		current.Store(bad)
		heard("two")
	}
	current.Store(&model.FilterConfig{TypeURL: "another", Config: one, Terminal: true})
	heard("")
	current.Store(nil)
	heard("")
	if n := b.counter("listener.l.network_extension_config_missing"); n != 3 {
		t.Errorf("network_extension_config_missing = %d", n)
	}
}

// closer closes every connection.
type closer struct{ verdict filter.ListenerVerdict }

func (c closer) Inspect(context.Context, filter.PeekConn, *streaminfo.Connection) (filter.ListenerVerdict, error) {
	return c.verdict, nil
}

func TestListenerFilterByDiscovery(t *testing.T) {
	var current atomic.Pointer[model.FilterConfig]
	b := newBed(t, func(o *Options) { o.FilterConfig = func(string) *model.FilterConfig { return current.Load() } })
	l := bound("l", "127.0.0.1:0", plainChain("c", model.FilterChainMatch{}))
	l.StatPrefix = "l"
	l.ListenerFilters = []*model.ListenerFilter{{Name: "f", Discovery: &model.FilterDiscovery{Kind: model.ListenerFilterKind, TypeURLs: []string{"t"}}}}
	b.mustApply(l)
	addr := netip.MustParseAddrPort(b.address("l")).String()
	for i, c := range []struct {
		config *model.FilterConfig
		served bool
	}{
		{nil, false},
		{&model.FilterConfig{TypeURL: "t", Config: closer{filter.Continue}}, true},
		{&model.FilterConfig{TypeURL: "t", Config: closer{filter.Close}}, false},
		{&model.FilterConfig{TypeURL: "t", Config: "nothing"}, false},
		{&model.FilterConfig{TypeURL: "another", Config: closer{filter.Continue}}, false},
	} {
		current.Store(c.config)
		if _, got := hear(t, addr); (got != "") != c.served {
			t.Errorf("%d: heard %q", i, got)
		}
	}
	if n := b.counter("listener.l.extension_config_missing"); n != 3 {
		t.Errorf("extension_config_missing = %d", n)
	}
}
