package cluster

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/leak"
)

// harness is a manager with what it needs; it checks for leaked goroutines at the end of the test.
type harness struct {
	*Manager
	t     testing.TB
	store *stats.Store
}

func newHarness(t testing.TB, change ...func(*Options)) *harness {
	t.Helper()
	poller := conntest.Poller(t)
	before := runtime.NumGoroutine()
	store, wheel := stats.NewStore(), timer.New()
	opt := Options{Stats: store.Root(), Log: log.ForTest(t), Wheel: wheel, Poller: poller}
	for _, c := range change {
		c(&opt)
	}
	h := &harness{Manager: New(opt), t: t, store: store}
	t.Cleanup(func() {
		h.Close()
		wheel.Close()
		leak.Goroutines(t, before)
	})
	return h
}

// counter and gauge read statistics by name.
func (h *harness) counter(name string) uint64 { return h.store.Root().Counter(name).Value() }
func (h *harness) gauge(name string) uint64   { return h.store.Root().Gauge(name).Value() }

func (h *harness) want(kind string, read func(string) uint64, want map[string]uint64) {
	h.t.Helper()
	for name, n := range want {
		if got := read(name); got != n {
			h.t.Errorf("%s %s is %d, want %d", kind, name, got, n)
		}
	}
}

// backend is an HTTP server that names itself and counts its connections.
type backend struct {
	*httptest.Server
	addr  netip.AddrPort
	conns atomic.Int64 // accepted so far
	open  atomic.Int64
}

func newBackend(t *testing.T, handler http.HandlerFunc) *backend {
	t.Helper()
	b := &backend{}
	if handler == nil {
		handler = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, b.addr) }
	}
	b.Server = httptest.NewUnstartedServer(handler)
	b.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			b.conns.Add(1)
			b.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			b.open.Add(-1)
		}
	}
	b.addr = b.Listener.Addr().(*net.TCPAddr).AddrPort()
	t.Cleanup(b.Close)
	return b
}

func plainBackend(t *testing.T, handler http.HandlerFunc) *backend {
	b := newBackend(t, handler)
	b.Start()
	return b
}

// endpoints is one locality of healthy endpoints.
func endpoints(addrs ...netip.AddrPort) *model.LoadAssignment {
	l := &model.Locality{}
	for _, a := range addrs {
		l.Endpoints = append(l.Endpoints, &model.Endpoint{Address: a, Weight: 1})
	}
	return &model.LoadAssignment{Localities: []*model.Locality{l}, OverprovisioningFactor: 140}
}

func static(name string, addrs ...netip.AddrPort) *model.Cluster {
	return &model.Cluster{
		Resource: model.Resource{Name: name}, Inline: endpoints(addrs...), ConnectTimeout: 5 * time.Second,
		IdleTimeout: time.Hour, PanicThreshold: 50,
	}
}

func eds(name string) *model.Cluster {
	c := static(name)
	c.Type, c.Inline = model.ClusterEDS, nil
	return c
}

func snapshot(clusters ...*model.Cluster) *model.Snapshot {
	s := &model.Snapshot{}
	for _, c := range clusters {
		s.Clusters = s.Clusters.With(c.Name, c)
	}
	return s
}

// stream picks a host and starts an exchange with it, on an open connection if there is one.
func (h *harness) stream(c *Cluster) (codec.ClientStream, error) {
	host, err := c.Pick(&upstream.PickContext{})
	if err != nil {
		return nil, err
	}
	if s := c.Reuse(host, message.HTTP11, nil); s != nil {
		return s, nil
	}
	return c.Connect(h.t.Context(), host, message.HTTP11, nil)
}

// get runs one request and returns the body.
func (h *harness) get(c *Cluster) (string, error) {
	s, err := h.stream(c)
	if err != nil {
		return "", err
	}
	return exchange(s)
}

func (h *harness) mustGet(name string) string {
	h.t.Helper()
	body, err := h.get(h.Get(name))
	if err != nil {
		h.t.Fatalf("get from %s: %v", name, err)
	}
	return body
}

// exchange runs a request on a stream and closes it.
func exchange(s codec.ClientStream) (string, error) {
	defer s.Close()
	req := &message.Request{Method: "GET", Scheme: "http", Authority: "test.example", Path: "/", Version: message.HTTP11}
	resp := &message.Response{}
	if err := s.RoundTrip(req, resp, nil); err != nil {
		return "", fmt.Errorf("round trip: %w", err)
	}
	if resp.Body == nil {
		return "", nil
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return string(body), err
}
