package statsd

import (
	"bufio"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/sinks"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/test/await"
)

// sample is a store with one of each, and an interval that has ended.
func sample(t *testing.T) (*stats.Store, *sinks.Flush) {
	t.Helper()
	s := stats.NewStore()
	web := s.Root().Scope("cluster.outbound|80||web")
	web.Counter("upstream_rq_200").Add(5)
	web.Counter("never")
	web.Gauge("upstream_cx_active").Set(3)
	h := web.Histogram("upstream_rq_time", stats.Milliseconds)
	for _, v := range []uint64{7, 7, 7, 7, 123, 0} {
		h.Record(v)
	}
	s.Root().Histogram("budget", stats.Percent).Record(stats.PercentScale / 2)
	s.LatchCounters()
	s.LatchHistograms()
	return s, &sinks.Flush{Store: s, Now: time.Now()}
}

func deps() sinks.Deps {
	return sinks.Deps{DialAddress: (&net.Dialer{}).DialContext}
}

// receive reads n datagrams.
func receive(t *testing.T, pc net.PacketConn, n int) []string {
	t.Helper()
	var out []string
	buf := make([]byte, 1<<16)
	if err := pc.SetReadDeadline(time.Now().Add(await.Patience)); err != nil {
		t.Fatal(err)
	}
	for len(out) < n {
		got, _, err := pc.ReadFrom(buf)
		if err != nil {
			t.Fatalf("after %q: %v", out, err)
		}
		out = append(out, string(buf[:got]))
	}
	return out
}

func listen(t *testing.T) net.PacketConn {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return pc
}

func TestDatagrams(t *testing.T) {
	const name = "envoy.cluster.outbound_80__web."
	plain := []string{
		name + "upstream_rq_200:5|c", name + "upstream_cx_active:3|g", name + "upstream_rq_time:0|ms",
		name + "upstream_rq_time:7|ms|@0.25", name + "upstream_rq_time:125|ms", "envoy.budget:0.505|h",
	}
	tag := "envoy.cluster_name:outbound_80__web"
	tagged := []string{
		"e.cluster.upstream_rq:5|c|#envoy.response_code:200," + tag, "e.cluster.upstream_cx_active:3|g|#" + tag,
		"e.cluster.upstream_rq_time:0|ms|#" + tag, "e.cluster.upstream_rq_time:7|ms|@0.25|#" + tag,
		"e.cluster.upstream_rq_time:125|ms|#" + tag, "e.budget:0.505|h",
	}
	tag = "envoy.cluster_name=outbound_80__web"
	graphite := []string{
		"g.cluster.upstream_rq;envoy.response_code=200;" + tag + ":5|c", "g.cluster.upstream_cx_active;" + tag + ":3|g",
		"g.cluster.upstream_rq_time;" + tag + ":0|ms", "g.cluster.upstream_rq_time;" + tag + ":7|ms|@0.25",
		"g.cluster.upstream_rq_time;" + tag + ":125|ms", "g.budget:0.505|h",
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"graphite", Config{Prefix: "g", Tags: true, Graphite: true}, graphite},
		{"statsd", Config{Prefix: "envoy"}, plain},
		{"dogstatsd", Config{Prefix: "e", Tags: true}, tagged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pc := listen(t)
			tt.cfg.Network, tt.cfg.Address = "udp", pc.LocalAddr().String()
			sink := tt.cfg.Build(deps(), model.GRPCService{})
			defer sink.Close()
			store, flush := sample(t)
			if err := sink.Flush(t.Context(), flush); err != nil {
				t.Fatal(err)
			}
			got := receive(t, pc, len(tt.want))
			slices.Sort(got)
			slices.Sort(tt.want)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			// A quiet interval: used counters count nothing, histograms are silent.
			store.LatchCounters()
			store.LatchHistograms()
			if err := sink.Flush(t.Context(), flush); err != nil {
				t.Fatal(err)
			}
			for _, line := range receive(t, pc, 2) {
				if !strings.Contains(line, ":0|c") && !strings.Contains(line, ":3|g") {
					t.Errorf("in a quiet interval: %s", line)
				}
			}
		})
	}
}

func TestPacking(t *testing.T) {
	pc := listen(t)
	cfg := Config{Network: "udp", Address: pc.LocalAddr().String(), Prefix: "p", MaxDatagram: 20}
	sink := cfg.Build(deps(), model.GRPCService{})
	defer sink.Close()
	s := stats.NewStore()
	for _, name := range []string{"a", "b", "c", "long_enough_to_be_alone"} {
		s.Root().Counter(name).Inc()
	}
	s.LatchCounters()
	if err := sink.Flush(t.Context(), &sinks.Flush{Store: s}); err != nil {
		t.Fatal(err)
	}
	want := []string{"p.a:1|c\np.b:1|c", "p.c:1|c", "p.long_enough_to_be_alone:1|c"}
	if d := cmp.Diff(want, receive(t, pc, 3)); d != "" {
		t.Error(d)
	}
}

func TestConnectionsToClusters(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	dials := 0
	d := sinks.Deps{DialCluster: func(ctx context.Context, cluster string) (net.Conn, error) {
		if cluster != "statsd" {
			t.Errorf("cluster %q", cluster)
		}
		dials++
		return (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr().String())
	}}
	cfg := Config{Cluster: "statsd", Prefix: "envoy"}
	sink := cfg.Build(d, model.GRPCService{})
	defer sink.Close()
	s := stats.NewStore()
	c := s.Root().Counter("c")
	flush := func(n uint64) {
		t.Helper()
		c.Add(n)
		s.LatchCounters()
		ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
		defer cancel()
		if err := sink.Flush(ctx, &sinks.Flush{Store: s}); err != nil {
			t.Fatal(err)
		}
	}
	accept := func() (net.Conn, *bufio.Reader) {
		t.Helper()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn, bufio.NewReader(conn)
	}
	flush(1)
	conn, lines := accept()
	flush(2)
	for _, want := range []string{"envoy.c:1|c\n", "envoy.c:2|c\n"} {
		if got, err := lines.ReadString('\n'); got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if dials != 1 {
		t.Errorf("%d connections for two flushes", dials)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	flush(3)
	_, lines = accept()
	if got, err := lines.ReadString('\n'); got != "envoy.c:3|c\n" {
		t.Errorf("after the server had closed: %q, %v", got, err)
	}
	sink.Close()
	if _, err := lines.ReadByte(); err != io.EOF {
		t.Errorf("after Close: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	_, flush := sample(t)
	pc := listen(t)
	address := pc.LocalAddr().String()
	_ = pc.Close()
	sink := (&Config{Network: "udp", Address: address, Prefix: "p"}).Build(deps(), model.GRPCService{})
	defer sink.Close()
	// The first datagrams go out, the kernel tells afterwards that nobody takes them.
	var err error
	for deadline := time.Now().Add(await.Patience); err == nil && time.Now().Before(deadline); {
		err = sink.Flush(t.Context(), flush)
	}
	if err == nil || !strings.Contains(err.Error(), "send statistics to statsd") {
		t.Errorf("got %v", err)
	}
}

func TestConfig(t *testing.T) {
	socket := func(ip string) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 8125},
		}}}
	}
	for _, tt := range []struct {
		name string
		in   *metricsv3.StatsdSink
		want *Config
		err  string
	}{
		{"udp", &metricsv3.StatsdSink{StatsdSpecifier: &metricsv3.StatsdSink_Address{Address: socket("::1")}}, &Config{Network: "udp", Address: "[::1]:8125", Prefix: "envoy"}, ""},
		{"tcp", &metricsv3.StatsdSink{StatsdSpecifier: &metricsv3.StatsdSink_TcpClusterName{TcpClusterName: "c"}, Prefix: "p"}, &Config{Cluster: "c", Prefix: "p"}, ""},
		{"a name", &metricsv3.StatsdSink{StatsdSpecifier: &metricsv3.StatsdSink_Address{Address: socket("localhost")}}, nil, "malformed IP address"},
		{"nothing", &metricsv3.StatsdSink{}, nil, "statsd_specifier"},
	} {
		got, err := decodeStatsd(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: got %v, want %s", tt.name, err, tt.err)
			}
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", tt.name, err, d)
		}
	}
	dog, err := decodeDog(&metricsv3.DogStatsdSink{
		DogStatsdSpecifier: &metricsv3.DogStatsdSink_Address{Address: socket("127.0.0.1")}, MaxBytesPerDatagram: wrapperspb.UInt64(1400),
	})
	if d := cmp.Diff(&Config{Network: "udp", Address: "127.0.0.1:8125", Prefix: "envoy", Tags: true, MaxDatagram: 1400}, dog); d != "" || err != nil {
		t.Errorf("dog: %v %s", err, d)
	}
	if _, err := decodeDog(&metricsv3.DogStatsdSink{MaxBytesPerDatagram: wrapperspb.UInt64(0)}); err == nil {
		t.Error("datagrams of no bytes are accepted")
	}
}
