package hcm_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// tag is a filter that adds its text to the request and to the response.
type tag struct {
	text   string
	closed *atomic.Int32
}

func (f *tag) Handle(s *filter.Stream) (*message.Response, error) {
	s.Request.Headers.Add("x-tag", f.text)
	resp, err := s.Next()
	if err == nil {
		resp.Headers.Add("x-tag", f.text)
	}
	return resp, err
}

func (f *tag) Close() error {
	if f.closed != nil {
		f.closed.Add(1)
	}
	return nil
}

func tagged(name string, disabled bool) *model.HTTPFilter {
	return &model.HTTPFilter{Name: name, Disabled: disabled, Config: &tag{text: name}}
}

func echoTags(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("seen", strings.Join(r.Header.Values("x-tag"), " "))
}

func TestRoutesEnableAndDisableFilters(t *testing.T) {
	on, off := &model.FilterOverride{}, &model.FilterOverride{Disabled: true}
	typed := &model.FilterOverride{Config: "whatever"}
	type overrides = map[string]*model.FilterOverride
	route := func(path string, o overrides) *model.Route {
		r := prefix(path, &model.RouteAction{Cluster: "up"})
		r.PerFilter = o
		return r
	}
	weighted := prefix("/weighted", &model.RouteAction{Weighted: []model.WeightedCluster{{Name: "up", Weight: 1, PerFilter: overrides{"a": off}}}})
	weighted.PerFilter = overrides{"a": on}
	up := backend(t, echoTags)
	rc := routeConfig(
		route("/plain", nil), route("/off", overrides{"a": off, "b": off}), route("/on", overrides{"sleeper": on}),
		route("/typed", overrides{"sleeper": typed}), route("/host", overrides{"host": on}), weighted,
	)
	rc.VirtualHosts[0].PerFilter = overrides{"host": off, "table": on}
	rc.PerFilter = overrides{"host": on, "table": off}
	p := start(t, rc, options{
		clusters: map[string]*model.Cluster{"up": static("up", up)},
		filters: []*model.HTTPFilter{
			tagged("a", false), tagged("sleeper", true), tagged("b", false), tagged("host", false), tagged("table", false),
		},
	})
	for path, want := range map[string]string{
		"/plain": "a b table", "/off": "table", "/on": "a sleeper b table", "/typed": "a sleeper b table", "/host": "a b host table",
		"/weighted": "b table",
	} {
		resp, _ := p.do(get(path, "connection: close"))
		if got := resp.Header.Get("seen"); got != want {
			t.Errorf("%s: the request went through %q, want %q", path, got, want)
		}
		back := strings.Fields(want)
		for i, j := 0, len(back)-1; i < j; i, j = i+1, j-1 {
			back[i], back[j] = back[j], back[i]
		}
		if got := strings.Join(resp.Header.Values("x-tag"), " "); got != strings.Join(back, " ") {
			t.Errorf("%s: the response went through %q", path, got)
		}
	}
	resp, _ := p.do(get("/nowhere", "connection: close"))
	if got := strings.Join(resp.Header.Values("x-tag"), " "); resp.StatusCode != 404 || got != "table host b a" {
		t.Errorf("without a route: %d through %q", resp.StatusCode, got)
	}
}

func TestFiltersByDiscovery(t *testing.T) {
	const textType = "type.googleapis.com/text"
	var mu sync.Mutex
	var current *model.FilterConfig
	set := func(c *model.FilterConfig) {
		mu.Lock()
		defer mu.Unlock()
		current = c
	}
	var closed atomic.Int32
	made := func(text string) *model.FilterConfig {
		return &model.FilterConfig{TypeURL: textType, Config: &tag{text: text, closed: &closed}}
	}
	discovered := func(fallback *model.FilterConfig) []*model.HTTPFilter {
		return []*model.HTTPFilter{{Name: "d", Discovery: &model.FilterDiscovery{TypeURLs: []string{textType}, Default: fallback}}}
	}
	o := options{
		clusters: map[string]*model.Cluster{"up": static("up", backend(t, echoTags))}, filters: discovered(nil),
		filterConfig: func(string) *model.FilterConfig {
			mu.Lock()
			defer mu.Unlock()
			return current
		},
	}
	rc := routeConfig(prefix("/", &model.RouteAction{Cluster: "up"}))
	p := start(t, rc, o)
	c := p.dial()
	ask := func(want string) {
		t.Helper()
		c.send(get("/"))
		if resp, _ := c.read("GET"); resp.Header.Get("seen") != want || resp.StatusCode != 200 {
			t.Errorf("%d through %q, want %q", resp.StatusCode, resp.Header.Get("seen"), want)
		}
	}
	c.send(get("/"))
	if resp, body := c.read("GET"); resp.StatusCode != 500 || body != "" {
		t.Errorf("without configuration: %d %q", resp.StatusCode, body)
	}
	p.logged("GET / 500 NFCF ")
	set(made("one"))
	ask("one")
	set(made("two"))
	ask("two")
	if n := closed.Load(); n != 1 {
		t.Errorf("%d filters were closed", n)
	}
	set(&model.FilterConfig{TypeURL: textType, Config: "no filter"})
	ask("two")
	set(&model.FilterConfig{TypeURL: "another", Config: &tag{text: "wrong"}})
	c.send(get("/"))
	if resp, _ := c.read("GET"); resp.StatusCode != 500 {
		t.Errorf("with a configuration of another type: %d", resp.StatusCode)
	}

	t.Log("with a default")
	o.filters = discovered(made("default"))
	p = start(t, rc, o)
	c = p.dial()
	ask("default")
	set(made("three"))
	ask("three")
	set(nil)
	ask("default")
}

// whole is a filter that has the whole response before it lets it go.
type whole struct{}

func (whole) NewHTTP(d filter.Deps) (filter.HTTP, error) { return wholeFilter{d.Buffers}, nil }

type wholeFilter struct{ buffers *filter.Buffers }

func (f wholeFilter) Handle(s *filter.Stream) (*message.Response, error) {
	resp, err := s.Next()
	if err != nil {
		return nil, err
	}
	if _, err := f.buffers.Response(s, resp, 1<<20); err != nil {
		return nil, err
	}
	return resp, nil
}

func TestResponseThatBreaksWhileItIsBuffered(t *testing.T) {
	up := raw(t, func(c net.Conn, _ int) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf") // the test sees what comes of it
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "up"})), options{
		clusters: map[string]*model.Cluster{"up": static("up", up)}, filters: []*model.HTTPFilter{{Name: "whole", Config: whole{}}},
	})
	c := p.dial()
	c.send(get("/"))
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("received %q, %v", b, err)
	}
	p.logged("GET / 0 UC upstream_reset_after_response_started")
}

func TestFiltersSeeRepliesToTimeouts(t *testing.T) {
	hang := backend(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "up"})), options{
		clusters: map[string]*model.Cluster{"up": static("up", hang)}, filters: []*model.HTTPFilter{tagged("a", false), tagged("b", false)},
		cfg: func(c *model.HTTPConnectionManager) { c.StreamIdleTimeout = 50 * time.Millisecond },
	})
	resp, _ := p.do(get("/"))
	if got := strings.Join(resp.Header.Values("x-tag"), " "); got != "b a" || resp.StatusCode < 400 {
		t.Errorf("%d through %q", resp.StatusCode, got)
	}
	p.eventually("the stream ends", func() bool { return p.counter("http.test.downstream_rq_active") == 0 })

	t.Log("a request whose body is malformed")
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\n")
	resp, _ = c.read("POST")
	if got := strings.Join(resp.Header.Values("x-tag"), " "); got != "b a" || resp.StatusCode != 400 {
		t.Errorf("%d through %q", resp.StatusCode, got)
	}
}
