package hcm_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	httprouter "github.com/weir-proxy/weir/pkg/proxy/filter/http/router"
	"github.com/weir-proxy/weir/pkg/proxy/hcm"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
	"github.com/weir-proxy/weir/test/await"
)

// proxy is a complete connection manager on a loopback listener, in front of real clusters.
type proxy struct {
	t        testing.TB
	addr     string
	store    *stats.Store
	manager  *hcm.Manager
	clusters *cluster.Manager
	poller   *conn.Poller
	draining chan struct{}
	busyTold atomic.Bool  // of a drain, from the next response on
	rests    atomic.Int64 // how often a connection came to rest
	panics   atomic.Int64 // of goroutines that are not a connection's own
	logs     *accesslog.Manager
	out      *lockedBuffer
	routes   *model.RouteConfig
	tls      *tls.Config
	nameless bool
	mu       sync.Mutex
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const logFormat = "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% " +
	"%BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %ROUTE_NAME% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n"

// options change the configuration before the proxy starts.
type options struct {
	cfg      func(*model.HTTPConnectionManager)
	clusters map[string]*model.Cluster
	filters  []*model.HTTPFilter
	router   *httprouter.Config
	// filterConfig answers for filters that are discovered.
	filterConfig func(name string) *model.FilterConfig
	tls          *tls.Config // nil for plain text
	runtime      *model.Runtime
	node         string
	nameless     bool // clients have no address, as on a unix socket
}

func static(name string, addrs ...string) *model.Cluster {
	l := &model.Locality{Weight: 1}
	for _, a := range addrs {
		l.Endpoints = append(l.Endpoints, &model.Endpoint{Address: netip.MustParseAddrPort(a), Weight: 1})
	}
	c := &model.Cluster{
		Resource: model.Resource{Name: name}, Type: model.ClusterStatic, ConnectTimeout: 2 * time.Second, PanicThreshold: 50,
		Inline: &model.LoadAssignment{Localities: []*model.Locality{l}, OverprovisioningFactor: 140},
		HTTP:   model.UpstreamHTTP{HTTP1: model.HTTP1Options{AllowAbsoluteURL: true}},
	}
	for i := range c.Breakers {
		c.Breakers[i] = model.CircuitBreaker{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3}
	}
	return c
}

func prefix(p string, a *model.RouteAction) *model.Route {
	if a.GRPCTimeoutMax == 0 {
		a.GRPCTimeoutMax = -1
	}
	return &model.Route{Match: model.RouteMatch{Path: p}, Action: a}
}

func routeConfig(routes ...*model.Route) *model.RouteConfig {
	return &model.RouteConfig{
		Resource:     model.Resource{Name: "test"},
		VirtualHosts: []*model.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: routes}},
	}
}

func start(t testing.TB, routes *model.RouteConfig, o options) *proxy {
	t.Helper()
	p := &proxy{t: t, store: stats.NewStore(), draining: make(chan struct{}), out: &lockedBuffer{}, routes: routes}
	wheel := timer.New()
	t.Cleanup(wheel.Close)
	p.poller = conntest.Poller(t)
	p.clusters = cluster.New(cluster.Options{Stats: p.store.Root(), Wheel: wheel, Poller: p.poller})
	t.Cleanup(p.clusters.Close)
	p.clusters.Apply(&model.Snapshot{Clusters: model.SetOf(o.clusters)})
	p.logs = accesslog.NewManager(accesslog.Options{Stats: p.store.Root(), Stdout: p.out})
	f, err := format.Compile(logFormat)
	if err != nil {
		t.Fatal(err)
	}
	if o.router == nil {
		o.router = &httprouter.Config{DynamicStats: true}
	}
	cfg := &model.HTTPConnectionManager{
		StatPrefix: "test", RouteConfigName: "test", GenerateRequestID: true, IdleTimeout: time.Hour, StreamIdleTimeout: 5 * time.Minute, DelayedCloseTimeout: time.Second,
		HTTPFilters: append(o.filters, &model.HTTPFilter{Name: "router", Config: o.router}),
		AccessLogs:  []*model.AccessLog{{Name: "log", Config: &accesslog.File{Path: "/dev/stdout", Format: f}}},
		HTTP1:       model.HTTP1Options{AllowAbsoluteURL: true},
	}
	if o.cfg != nil {
		o.cfg(cfg)
	}
	p.manager, err = hcm.New(cfg, hcm.Deps{
		Stats: p.store.Root(), ListenerStats: p.store.Root().Scope("listener.test"), Wheel: wheel, Clusters: hcm.Clusters(p.clusters),
		AccessLogs: p.logs, FilterConfig: o.filterConfig, Runtime: o.runtime, ServiceNode: o.node, Routes: func(string) *model.RouteConfig {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.routes
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.tls, p.nameless = o.tls, o.nameless
	p.listen()
	return p
}

func (p *proxy) listen() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for id := uint64(1); ; id++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(ctx, nc, id) })
		}
	})
	p.t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		wg.Wait()
		_ = p.logs.Close()
		p.manager.Close()
		if n := p.counter("http.test.downstream_rq_total"); n != 0 {
			p.t.Errorf("statistics outlive the manager: %d", n)
		}
	})
}

func (p *proxy) serve(ctx context.Context, nc net.Conn, id uint64) {
	info := &streaminfo.Connection{ID: id, Start: time.Now(), Local: conn.AddrPort(nc.LocalAddr()), Remote: conn.AddrPort(nc.RemoteAddr())}
	if p.nameless {
		info.Remote = netip.AddrPort{}
	}
	c, err := p.poller.Adopt(nc, &info.RxBytes, &info.TxBytes)
	if err != nil {
		p.t.Error(err)
		return
	}
	fc := &filter.Connection{Conn: c, Info: info, Drain: &filter.Drain{}, Reset: c.Reset, Panicked: func(any, []byte) {
		p.panics.Add(1)
		c.Reset()
	}}
	if p.busyTold.Load() {
		fc.Drain.Within(&filter.Period{})
	}
	if p.tls != nil {
		tc := tls.Server(c, p.tls)
		if err := tc.HandshakeContext(ctx); err != nil {
			p.t.Error(err)
			return
		}
		state := tc.ConnectionState()
		fc.Conn, info.TLS, info.LocalCertificate = tc, &state, p.tls.Certificates[0].Leaf
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-p.draining:
			fc.Drain.Begin()
		case <-ended:
		}
	}()
	for p.manager.Serve(ctx, fc) {
		p.rests.Add(1)
		again := make(chan struct{})
		c.WhenReadable(func() { close(again) })
		<-again
	}
}

// swap replaces the route configuration.
func (p *proxy) swap(r *model.RouteConfig) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes = r
}

// do sends a raw request on a connection of its own and returns the response with its body.
func (p *proxy) do(raw string) (*http.Response, string) {
	p.t.Helper()
	c := p.dial()
	defer c.Close()
	c.send(raw)
	return c.read("GET")
}

func get(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: example.com\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

type client struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func (p *proxy) dial() *client {
	p.t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	return &client{Conn: c, t: p.t, br: bufio.NewReader(c)}
}

func (c *client) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("read body: %v", err)
	}
	return resp, string(body)
}

// counter is the value of a counter or gauge, 0 when there is none.
func (p *proxy) counter(name string) uint64 {
	for _, c := range p.store.Counters() {
		if c.Name() == name {
			return c.Value()
		}
	}
	for _, g := range p.store.Gauges() {
		if g.Name() == name {
			return g.Value()
		}
	}
	return 0
}

// eventually waits until cond holds.
func (p *proxy) eventually(what string, cond func() bool) {
	p.t.Helper()
	await.True(p.t, what, cond)
}

// logged waits for an access log line that begins with want.
func (p *proxy) logged(want string) {
	p.t.Helper()
	await.Nil(p.t, "log", func() error {
		_ = p.logs.Flush()
		for line := range strings.Lines(p.out.String()) {
			if strings.HasPrefix(line, want) {
				return nil
			}
		}
		return fmt.Errorf("no line begins with %q in\n%s", want, p.out.String())
	})
}

// backend is an HTTP/1 server that tells what it received.
func backend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return ln.Addr().String()
}

// raw is a TCP server that runs f for each connection.
func raw(t testing.TB, f func(c net.Conn, n int)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				f(c, n)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}
