package tcpproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/relay"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// fakeCluster dials one address, after it has failed as often as errs says.
type fakeCluster struct {
	name   string
	addr   netip.AddrPort
	dialer conn.Dialer

	mu       sync.Mutex
	errs     []error
	dials    int
	exceeded int
	seen     upstream.PickContext
}

func (f *fakeCluster) Config() *model.Cluster {
	return &model.Cluster{Resource: model.Resource{Name: f.name}, AltStatName: f.name + "_stat"}
}

func (f *fakeCluster) WantsHash() bool { return true }

func (f *fakeCluster) TryDial(*upstream.PickContext) (*Lease, error) { return nil, nil }

func (f *fakeCluster) Dial(ctx context.Context, pc *upstream.PickContext) (*Lease, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials++
	f.seen = *pc
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, err
	}
	c, err := f.dialer.Dial(ctx, f.addr)
	if err != nil {
		return nil, &upstream.Error{Kind: upstream.KindConnect, Err: err}
	}
	return &Lease{
		Conn: c, Host: &upstream.Host{Address: f.addr, Hostname: "backend"}, Info: codec.ConnInfo{ID: 7, Local: c.Local()},
		Close: func() { c.Close() },
	}, nil
}

func (f *fakeCluster) AttemptsExceeded() { f.exceeded++ }

// bed is a proxy with an echo backend, fed by real sockets.
type bed struct {
	t     *testing.T
	store *stats.Store
	proxy *Proxy
	logs  chan streaminfo.Info
	// served is closed when the last client was.
	served chan struct{}
}

func newBed(t *testing.T, cfg *model.TCPProxy, clusters map[string]*fakeCluster) *bed {
	t.Helper()
	w := timer.New()
	t.Cleanup(w.Close)
	poller := conntest.Poller(t)
	for _, f := range clusters {
		f.dialer.Poller = poller
	}
	b := &bed{t: t, store: stats.NewStore(), logs: make(chan streaminfo.Info, 1)}
	p, err := New(cfg, Deps{
		Stats: b.store.Root(), Wheel: w, Pool: &relay.Pool{},
		Cluster: func(name string) Cluster {
			if c := clusters[name]; c != nil {
				return c
			}
			return nil
		},
		AccessLog: func(i *streaminfo.Info) { b.logs <- *i },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.proxy = p
	return b
}

// client connects through the proxy.
func (b *bed) client(ctx context.Context) *net.TCPConn {
	b.t.Helper()
	c, nc := conntest.Sockets(b.t)
	info := &streaminfo.Connection{ID: 3, Local: netip.MustParseAddrPort("10.0.0.1:5432"), Remote: netip.MustParseAddrPort("10.0.0.9:1234")}
	down := conntest.AdoptCounted(b.t, nc, &info.RxBytes, &info.TxBytes)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.proxy.Serve(ctx, &filter.Connection{Conn: down, Info: info, Reset: down.Reset})
	}()
	b.t.Cleanup(func() { c.Close(); <-done })
	b.served = done
	return c
}

func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func single(name string) *model.TCPProxy {
	return &model.TCPProxy{StatPrefix: "db", Clusters: []model.WeightedCluster{{Name: name, Weight: 1}}, MaxConnectAttempts: 1}
}

func TestProxies(t *testing.T) {
	f := &fakeCluster{name: "a", addr: echo(t)}
	b := newBed(t, single("a"), map[string]*fakeCluster{"a": f})
	c := b.client(t.Context())
	io.WriteString(c, "hello")
	c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	info := <-b.logs
	if info.BytesReceived != 5 || info.BytesSent != 5 || info.Flags != 0 || info.Duration <= 0 {
		t.Errorf("log: %+v", info)
	}
	up := info.Upstream
	if up.Host != f.addr || up.Cluster != "a_stat" || up.ClusterRaw != "a" || up.ConnectionID != 7 || !up.Local.IsValid() || up.AttemptCount != 1 {
		t.Errorf("upstream: %+v", up)
	}
	if f.seen.OriginalDst != netip.MustParseAddrPort("10.0.0.1:5432") {
		t.Errorf("original destination %v", f.seen.OriginalDst)
	}
	for name, want := range map[string]uint64{
		"tcp.db.downstream_cx_total": 1, "tcp.db.downstream_cx_rx_bytes_total": 5, "tcp.db.downstream_cx_tx_bytes_total": 5,
	} {
		if got := b.store.Root().Counter(name).Value(); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}

// TestHashesBySource wants Envoy's hash of the client's address, and none where nobody asked for one.
func TestHashesBySource(t *testing.T) {
	for _, asked := range []bool{true, false} {
		cfg := single("a")
		cfg.HashSourceIP = asked
		f := &fakeCluster{name: "a", addr: echo(t)}
		b := newBed(t, cfg, map[string]*fakeCluster{"a": f})
		c := b.client(t.Context())
		c.CloseWrite()
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		<-b.served
		want := uint64(0)
		if asked {
			want = xxhash.Sum64String("10.0.0.9")
		}
		f.mu.Lock()
		seen := f.seen
		f.mu.Unlock()
		if seen.HasHash != asked || seen.Hash != want {
			t.Errorf("asked %t: hash %d (%t), want %d", asked, seen.Hash, seen.HasHash, want)
		}
	}
}

func TestFailures(t *testing.T) {
	refused := &upstream.Error{Kind: upstream.KindConnect, Transport: "why", Err: syscall.ECONNREFUSED}
	times := func(n int, err error) (out []error) {
		for range n {
			out = append(out, err)
		}
		return out
	}
	cases := []struct {
		name     string
		errs     []error
		attempts int
		cluster  string
		flags    string
		dials    int
	}{
		{"refused", times(9, refused), 1, "a", "UF,URX", 1},
		{"refused three times", times(9, refused), 3, "a", "UF,URX", 3},
		{"second attempt succeeds", times(1, refused), 3, "a", "-", 2},
		{"no host", times(9, &upstream.Error{Kind: upstream.KindNoHost}), 3, "a", "UH", 1},
		{"overflow", times(9, &upstream.Error{Kind: upstream.KindOverflow}), 3, "a", "UO", 1},
		{"no cluster", nil, 3, "missing", "NC", 0},
		{"other errors", times(9, errors.New("x")), 1, "a", "UF,URX", 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			f := &fakeCluster{name: "a", addr: echo(t), errs: tc.errs}
			cfg := single(tc.cluster)
			cfg.MaxConnectAttempts = tc.attempts
			b := newBed(t, cfg, map[string]*fakeCluster{"a": f})
			c := b.client(t.Context())
			c.CloseWrite()
			_, err := io.ReadAll(c)
			if reset := errors.Is(err, syscall.ECONNRESET); reset != (tc.flags != "-") {
				t.Errorf("client read: %v", err)
			}
			info := <-b.logs
			if info.Flags.String() != tc.flags || f.dials != tc.dials {
				t.Errorf("flags %s after %d dials, want %s after %d", info.Flags, f.dials, tc.flags, tc.dials)
			}
			if (f.exceeded == 1) != (tc.flags == "UF,URX") {
				t.Errorf("AttemptsExceeded was told %d times", f.exceeded)
			}
		})
	}
}

func TestTimers(t *testing.T) {
	cases := []struct {
		name    string
		change  func(*model.TCPProxy)
		flags   string
		counter string
	}{
		{"idle", func(c *model.TCPProxy) { c.IdleTimeout = 20 * time.Millisecond }, "-", "tcp.db.idle_timeout"},
		{"duration", func(c *model.TCPProxy) { c.MaxDownstreamConnectionDuration = 20 * time.Millisecond }, "DT", "tcp.db.max_downstream_connection_duration"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			cfg := single("a")
			tc.change(cfg)
			b := newBed(t, cfg, map[string]*fakeCluster{"a": {name: "a", addr: echo(t)}})
			c := b.client(t.Context())
			if _, err := io.ReadAll(c); err != nil {
				t.Errorf("client read: %v", err)
			}
			info := <-b.logs
			if info.Flags.String() != tc.flags || b.store.Root().Counter(tc.counter).Value() != 1 {
				t.Errorf("flags %s, %s = %d", info.Flags, tc.counter, b.store.Root().Counter(tc.counter).Value())
			}
		})
	}
}

func TestWeights(t *testing.T) {
	p := newBed(t, &model.TCPProxy{StatPrefix: "w", Clusters: []model.WeightedCluster{{Name: "a", Weight: 9}, {Name: "z"}, {Name: "b", Weight: 1}}}, nil).proxy
	got := map[string]int{}
	for range 10000 {
		got[p.choose()]++
	}
	if got["z"] != 0 || got["b"] < 700 || got["b"] > 1300 {
		t.Errorf("chosen: %v", got)
	}
	for _, cfg := range []*model.TCPProxy{{}, {Clusters: []model.WeightedCluster{{Name: "a"}, {Name: "b"}}}} {
		if _, err := New(cfg, Deps{Stats: stats.NewStore().Root()}); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
