package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-proxy/weir/test/harness"
)

const lrsAddr = "127.0.0.1:18001"

// loadServer is a management server that takes load reports and adds them up.
type loadServer struct {
	loadv3.UnimplementedLoadReportingServiceServer
	answer *loadv3.LoadStatsResponse

	mu      sync.Mutex
	streams int
	first   *loadv3.LoadStatsRequest
	// zones are sums by cluster and zone, dropped by cluster and category, where "" is all of them; endpoints by address.
	zones     map[string]*endpointv3.UpstreamLocalityStats
	dropped   map[string]uint64
	endpoints map[string]uint64
	names     map[string]string
}

// StreamLoadStats implements loadv3.LoadReportingServiceServer.
func (s *loadServer) StreamLoadStats(st loadv3.LoadReportingService_StreamLoadStatsServer) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.streams++
	if s.first == nil {
		s.first = first
	}
	s.mu.Unlock()
	s.add(first)
	if err := st.Send(s.answer); err != nil {
		return err
	}
	for {
		r, err := st.Recv()
		if err != nil {
			return err
		}
		s.add(r)
	}
}

func (s *loadServer) add(r *loadv3.LoadStatsRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range r.GetClusterStats() {
		s.names[c.GetClusterName()] = c.GetClusterServiceName()
		s.dropped[c.GetClusterName()+"/"] += c.GetTotalDroppedRequests()
		for _, d := range c.GetDroppedRequests() {
			s.dropped[c.GetClusterName()+"/"+d.GetCategory()] += d.GetDroppedCount()
		}
		for _, l := range c.GetUpstreamLocalityStats() {
			key := c.GetClusterName() + "/" + l.GetLocality().GetZone()
			sum := s.zones[key]
			if sum == nil {
				sum = &endpointv3.UpstreamLocalityStats{}
				s.zones[key] = sum
			}
			sum.TotalIssuedRequests += l.GetTotalIssuedRequests()
			sum.TotalSuccessfulRequests += l.GetTotalSuccessfulRequests()
			sum.TotalErrorRequests += l.GetTotalErrorRequests()
			sum.TotalRequestsInProgress = l.GetTotalRequestsInProgress()
			for _, e := range l.GetUpstreamEndpointStats() {
				a := e.GetAddress().GetSocketAddress()
				s.endpoints[fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue())] += e.GetTotalIssuedRequests()
			}
		}
	}
}

// reported tells what is missing in the sums of the test's clusters.
func (s *loadServer) reported(issued, good uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := &endpointv3.UpstreamLocalityStats{}
	for _, zone := range []string{"a", "b"} {
		z := s.zones["web/"+zone]
		if z.GetTotalIssuedRequests() == 0 {
			return fmt.Errorf("nothing of zone %s", zone)
		}
		sum.TotalIssuedRequests += z.GetTotalIssuedRequests()
		sum.TotalSuccessfulRequests += z.GetTotalSuccessfulRequests()
		sum.TotalErrorRequests += z.GetTotalErrorRequests()
	}
	if sum.TotalIssuedRequests != issued || sum.TotalSuccessfulRequests != good || sum.TotalErrorRequests != issued-good {
		return fmt.Errorf("sums %v, want %d of which %d went well", sum, issued, good)
	}
	if s.dropped["over/"] != 3 || s.dropped["over/surge"] != 3 || s.dropped["web/"] != 0 {
		return fmt.Errorf("dropped %v", s.dropped)
	}
	return nil
}

// byEndpoint adds up the requests to some endpoints.
func (s *loadServer) byEndpoint(addrs ...netip.AddrPort) (sum uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addrs {
		sum += s.endpoints[a.String()]
	}
	return sum
}

// serveLoads runs a loadServer on a host; the function ends its streams and stops it.
func serveLoads(t *testing.T, host *harness.Host, answer *loadv3.LoadStatsResponse) (s *loadServer, restart func()) {
	t.Helper()
	s = &loadServer{
		answer: answer, zones: map[string]*endpointv3.UpstreamLocalityStats{}, dropped: map[string]uint64{},
		endpoints: map[string]uint64{}, names: map[string]string{},
	}
	var server *grpc.Server
	start := func() {
		server = grpc.NewServer()
		loadv3.RegisterLoadReportingServiceServer(server, s)
		l := host.Listen(lrsAddr)
		g := server
		go func() { _ = g.Serve(l) }()
	}
	start()
	t.Cleanup(func() { server.Stop() })
	return s, func() {
		server.Stop()
		start()
	}
}

func TestLoadReports(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	fails := harness.WithHandler("/fail", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	one, two := host.HTTPBackend("one", "127.0.0.1:0", fails), host.HTTPBackend("two", "127.0.0.1:0", fails)
	server, restart := serveLoads(t, host, &loadv3.LoadStatsResponse{
		SendAllClusters: true, ReportEndpointGranularity: true, LoadReportingInterval: durationpb.New(50 * time.Millisecond),
	})
	locality := func(zone string, addr netip.AddrPort) string {
		return fmt.Sprintf("{locality: {region: r, zone: %s}, lb_endpoints: [{endpoint: {address: %s}}]}", zone, harness.Address(addr.String()))
	}
	web := fmt.Sprintf("{name: web, type: STATIC, load_assignment: {cluster_name: web, endpoints: [%s, %s]}}", locality("a", one.Addr), locality("b", two.Addr))
	over := fmt.Sprintf("{name: over, type: STATIC, load_assignment: {cluster_name: over, endpoints: [%s], "+
		"policy: {drop_overloads: [{category: surge, drop_percentage: {numerator: 100}}]}}}", locality("a", one.Addr))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "web", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(
			harness.RouteTo("/over", "over"), harness.RouteTo("/", "web")))}}.YAML()},
		Clusters: []string{web, over, harness.Cluster("lrs", harness.To(netip.MustParseAddrPort(lrsAddr)), harness.HTTP2())},
		More: `node: {id: reporter, cluster: test}
cluster_manager: {load_stats_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: lrs, retry_policy: {retry_back_off: {base_interval: 0.01s, max_interval: 0.05s}}}}]}}`,
	}.YAML()})
	weir.AwaitStat("load_reporter.requests", func(n int) bool { return n == 1 })
	ask := func(path string, n int) {
		for range n {
			answersNow(t, host, path)
		}
	}
	ask("", 20)
	ask("fail", 6)
	ask("over", 3)
	harness.EventuallyNil(t, "the reports", func() error { return server.reported(26, 20) })
	restart()
	weir.AwaitStat("load_reporter.requests", func(n int) bool { return n == 2 })
	ask("", 4)
	harness.EventuallyNil(t, "the reports of both streams", func() error { return server.reported(30, 24) })
	if n := server.byEndpoint(one.Addr, two.Addr); n != 30 {
		t.Errorf("%d requests were reported by endpoint, want 30", n)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if n := server.first.GetNode(); n.GetId() != "reporter" || len(server.first.GetClusterStats()) != 0 {
		t.Errorf("the first request is %v", server.first)
	}
	wantContains(t, "client features", fmt.Sprint(server.first.GetNode().GetClientFeatures()), "envoy.lrs.supports_send_all_clusters")
	if weir.Stat("load_reporter.retries") == 0 || weir.Stat("load_reporter.responses") < 3 {
		t.Error("load_reporter.* is wrong")
	}
}

func TestLoadReportsOfSome(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	up := host.HTTPBackend("up", "127.0.0.1:0")
	server, _ := serveLoads(t, host, &loadv3.LoadStatsResponse{Clusters: []string{"two", "missing"}, LoadReportingInterval: durationpb.New(50 * time.Millisecond)})
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "web", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(
			harness.RouteTo("/one", "one"), harness.RouteTo("/two", "two")))}}.YAML()},
		Clusters: []string{
			harness.Cluster("one", harness.To(up.Addr)), harness.Cluster("two", harness.To(up.Addr)),
			harness.Cluster("lrs", harness.To(netip.MustParseAddrPort(lrsAddr)), harness.HTTP2()),
		},
		More: `node: {id: reporter, cluster: test}
cluster_manager: {load_stats_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: lrs}}]}}`,
	}.YAML()})
	weir.AwaitStat("load_reporter.requests", func(n int) bool { return n == 1 })
	answersNow(t, host, "one")
	answersNow(t, host, "two")
	harness.EventuallyNil(t, "the report", func() error {
		server.mu.Lock()
		defer server.mu.Unlock()
		if z := server.zones["two/"]; z.GetTotalSuccessfulRequests() != 1 {
			return fmt.Errorf("%v", z)
		}
		return nil
	})
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.names) != 1 || len(server.endpoints) != 0 {
		t.Errorf("reported %v, endpoints %v", server.names, server.endpoints)
	}
}
