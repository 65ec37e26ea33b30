package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/test/await"
)

// diary notes what filters are asked.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := ""
	for _, l := range d.lines {
		out += l + ", "
	}
	d.lines = nil
	return out
}

// gate is a filter that notes what it is asked, and its own configuration.
type gate struct {
	name        string
	in          *diary
	deny, panic string // the step at which it denies or panics
	closed      chan struct{}
}

func (g *gate) NewNonTerminal(filter.NetworkDeps) (filter.NonTerminal, error) {
	if g.deny == "new" {
		return nil, errors.New("it cannot be made")
	}
	return g, nil
}

func (g *gate) step(what string) bool {
	g.in.add("%s %s", what, g.name)
	if g.panic == what {
		panic("as wanted")
	}
	return g.deny != what
}

func (g *gate) Accept(context.Context, *filter.Connection) (any, bool) {
	return g.name, g.step("accept")
}

func (g *gate) Begin(_ context.Context, c *filter.Connection, state any) bool {
	if state != g.name {
		g.in.add("begin of %s has the state of %v", g.name, state)
	}
	return g.step("begin")
}

func (g *gate) End(_ *filter.Connection, state any) { g.in.add("end %v", state) }

func (g *gate) Close() error { close(g.closed); return nil }

// teller is a terminal filter that says hello and notes what it is told.
type teller struct{ in *diary }

func (t teller) Serve(_ context.Context, c *filter.Connection) bool {
	t.in.add("serve")
	_, _ = io.WriteString(c.Conn, "hello")
	return false
}

func (t teller) Denied(*filter.Connection) { t.in.add("denied") }

func TestNonTerminalFilters(t *testing.T) {
	for _, c := range []struct {
		name        string
		deny, panic string // the second of three filters does at this step
		want        string
	}{
		{"all agree", "", "", "accept a, accept b, accept c, begin a, begin b, begin c, serve, end c, end b, end a"},
		{"denied at once", "accept", "", "accept a, accept b, denied, end b, end a"},
		{"denied after TLS", "begin", "", "accept a, accept b, accept c, begin a, begin b, denied, end c, end b, end a"},
		{"a panic", "", "begin", "accept a, accept b, accept c, begin a, begin b, end c, end b, end a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d diary
			b := newBed(t, func(o *Options) {
				o.NewFilter = func(*model.Listener, *model.FilterChain, *model.NetworkFilter) (filter.Network, error) {
					return teller{&d}, nil
				}
			})
			fc := &model.FilterChain{Name: "c"}
			for _, name := range []string{"a", "b", "c"} {
				g := &gate{name: name, in: &d, closed: make(chan struct{})}
				if name == "b" {
					g.deny, g.panic = c.deny, c.panic
				}
				fc.Filters = append(fc.Filters, &model.NetworkFilter{Name: name, Config: g})
			}
			fc.Filters = append(fc.Filters, &model.NetworkFilter{Name: "last"})
			b.mustApply(bound("l", "127.0.0.1:0", fc))
			heard := ""
			if conn, err := net.Dial("tcp", b.address("l")); err == nil { // a reset may come that early
				got, _ := io.ReadAll(conn)
				heard = string(got)
				_ = conn.Close()
			}
			if (heard == "hello") != strings.Contains(c.want, "serve") {
				t.Errorf("heard %q", heard)
			}
			got := ""
			await.True(t, "the end", func() bool {
				got += d.take()
				return strings.Contains(got, "end a") && b.List()[0].Connections == 0
			})
			if got = strings.TrimSuffix(got, ", "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			b.mustApply()
			for _, f := range fc.Filters[:3] {
				<-f.Config.(*gate).closed
			}
		})
	}
}

func TestNonTerminalFilterThatCannotBeMade(t *testing.T) {
	var d diary
	b := newBed(t, nil)
	good := &gate{name: "good", in: &d, closed: make(chan struct{})}
	for _, bad := range []any{&gate{name: "bad", in: &d, deny: "new"}, "no filter"} {
		fc := &model.FilterChain{Name: "c", Filters: []*model.NetworkFilter{{Name: "good", Config: good}, {Name: "bad", Config: bad}, {Name: "last"}}}
		errs := b.apply(bound("l", "127.0.0.1:0", fc))
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "network filter bad: ") {
			t.Errorf("errors %v", errs)
		}
		<-good.closed
		good.closed = make(chan struct{})
	}
}

func TestNonTerminalFilterByDiscovery(t *testing.T) {
	var d diary
	var current atomic.Pointer[model.FilterConfig]
	b := newBed(t, func(o *Options) {
		o.FilterConfig = func(string) *model.FilterConfig { return current.Load() }
		o.NewFilter = func(*model.Listener, *model.FilterChain, *model.NetworkFilter) (filter.Network, error) {
			return teller{&d}, nil
		}
	})
	discovery := &model.FilterDiscovery{Kind: model.NetworkFilterKind, TypeURLs: []string{"t"}}
	l := bound("l", "127.0.0.1:0", &model.FilterChain{Name: "c", Filters: []*model.NetworkFilter{{Name: "n", Discovery: discovery}, {Name: "last"}}})
	l.StatPrefix = "l"
	b.mustApply(l)
	addr := b.address("l")
	one := &gate{name: "one", in: &d, closed: make(chan struct{})}
	two := &gate{name: "two", in: &d, deny: "begin", closed: make(chan struct{})}
	var open []net.Conn
	for i, c := range []struct {
		config any
		heard  string
		diary  string
	}{
		{nil, "", ""},
		{one, "hello", "accept one, begin one, serve, end one"},
		{two, "", "accept two, begin two, denied, end two"},
		{"no filter", "", "accept two, begin two, denied, end two"},
	} {
		if c.config != nil {
			current.Store(&model.FilterConfig{TypeURL: "t", Config: c.config})
		}
		conn, heard := hear(t, addr)
		open = append(open, conn)
		if heard != c.heard {
			t.Errorf("%d: heard %q", i, heard)
		}
		await.True(t, "no connection", func() bool { return slices.IndexFunc(b.List(), func(s Status) bool { return s.Connections > 0 }) < 0 })
		if got := strings.TrimSuffix(d.take(), ", "); got != c.diary {
			t.Errorf("%d: %s", i, got)
		}
	}
	<-one.closed
	if n := b.counter("listener.l.network_extension_config_missing"); n != 1 {
		t.Errorf("network_extension_config_missing = %d", n)
	}
	for _, c := range open {
		_ = c.Close()
	}
}
