package loadreport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// fleet is clusters whose counters a test sets.
type fleet struct {
	mu sync.Mutex
	by map[string]Cluster
}

func (f *fleet) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for name := range f.by {
		out = append(out, name)
	}
	return out
}

func (f *fleet) Load(name string) (Cluster, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.by[name]
	return c, ok
}

func (f *fleet) set(name string, c Cluster) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by = map[string]Cluster{}
	}
	f.by[name] = c
}

func host(key string, at *model.Locality, issued, good, bad uint64, active int64) Host {
	return Host{Key: key, Address: netip.MustParseAddrPort(key), Locality: at, Issued: issued, Succeeded: good, Failed: bad, Active: active}
}

func statsOf(t *testing.T, json string) *endpointv3.ClusterStats {
	t.Helper()
	m := &endpointv3.ClusterStats{}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func same(t *testing.T, want, got *endpointv3.ClusterStats) {
	t.Helper()
	got = proto.CloneOf(got)
	got.LoadReportInterval = nil
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestReport(t *testing.T) {
	a, b := &model.Locality{Region: "r", Zone: "a"}, &model.Locality{Region: "r", Zone: "b", Priority: 1}
	f := &fleet{}
	f.set("web", Cluster{Service: "web-eds", Dropped: 5, DroppedBy: map[string]uint64{"x": 2}, Hosts: []Host{host("10.0.0.1:1", a, 10, 8, 1, 1)}})
	r := New(Options{Clusters: f, Stats: stats.NewStore().Root(), Log: slog.New(slog.DiscardHandler)})
	r.asked = &loadv3.LoadStatsResponse{Clusters: []string{"web", "missing"}, ReportEndpointGranularity: true, LoadReportingInterval: durationpb.New(time.Second)}
	if d := r.track(); d != time.Second {
		t.Errorf("interval %v", d)
	}
	began := r.clusters["web"].since
	f.set("web", Cluster{Service: "web-eds", Dropped: 9, DroppedBy: map[string]uint64{"x": 2, "y": 3}, Hosts: []Host{
		host("10.0.0.1:1", a, 14, 11, 2, 2), host("10.0.0.2:1", a, 1, 0, 1, 0), host("10.0.0.3:1", b, 2, 2, 0, 0), host("10.0.0.4:1", b, 0, 0, 0, 0),
	}})
	got := r.report(began.Add(1500 * time.Millisecond))
	if len(got) != 1 {
		t.Fatalf("%d clusters", len(got))
	}
	if d := got[0].GetLoadReportInterval().AsDuration(); d != 1500*time.Millisecond {
		t.Errorf("load_report_interval %v", d)
	}
	same(t, statsOf(t, `{
		"clusterName": "web", "clusterServiceName": "web-eds", "totalDroppedRequests": 4, "droppedRequests": [{"category": "y", "droppedCount": 3}],
		"upstreamLocalityStats": [
			{"locality": {"region": "r", "zone": "a"}, "totalIssuedRequests": 5, "totalSuccessfulRequests": 3, "totalErrorRequests": 2, "totalRequestsInProgress": 2,
			 "upstreamEndpointStats": [
				{"address": {"socketAddress": {"address": "10.0.0.1", "portValue": 1}}, "totalIssuedRequests": 4, "totalSuccessfulRequests": 3, "totalErrorRequests": 1, "totalRequestsInProgress": 2},
				{"address": {"socketAddress": {"address": "10.0.0.2", "portValue": 1}}, "totalIssuedRequests": 1, "totalErrorRequests": 1}]},
			{"locality": {"region": "r", "zone": "b"}, "priority": 1, "totalIssuedRequests": 2, "totalSuccessfulRequests": 2,
			 "upstreamEndpointStats": [{"address": {"socketAddress": {"address": "10.0.0.3", "portValue": 1}}, "totalIssuedRequests": 2, "totalSuccessfulRequests": 2}]}]}`), got[0])

	// What was reported is not reported again, and counters that began anew count from nothing.
	f.set("web", Cluster{Dropped: 1, Hosts: []Host{host("10.0.0.1:1", a, 3, 3, 0, 0), host("10.0.0.2:1", a, 1, 0, 1, 0)}})
	r.asked.ReportEndpointGranularity = false
	same(t, statsOf(t, `{"clusterName": "web", "totalDroppedRequests": 1, "upstreamLocalityStats": [{"locality": {"region": "r", "zone": "a"}, "totalIssuedRequests": 3, "totalSuccessfulRequests": 3}]}`),
		r.report(time.Now())[0])
	same(t, statsOf(t, `{"clusterName": "web"}`), r.report(time.Now())[0])
}

func TestTrack(t *testing.T) {
	f := &fleet{}
	f.set("a", Cluster{Dropped: 1})
	f.set("b", Cluster{Dropped: 1})
	r := New(Options{Clusters: f, Stats: stats.NewStore().Root()})
	r.asked = &loadv3.LoadStatsResponse{Clusters: []string{"a"}}
	if d := r.track(); d != minInterval {
		t.Errorf("an absent interval became %v", d)
	}
	f.set("a", Cluster{Dropped: 3})
	r.asked = &loadv3.LoadStatsResponse{SendAllClusters: true}
	r.track()
	f.set("b", Cluster{Dropped: 5})
	got := map[string]uint64{}
	for _, m := range r.report(time.Now()) {
		got[m.GetClusterName()] = m.GetTotalDroppedRequests()
	}
	if diff := cmp.Diff(map[string]uint64{"a": 2, "b": 4}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// server is a scripted LRS server.
type server struct {
	loadv3.UnimplementedLoadReportingServiceServer
	script func(loadv3.LoadReportingService_StreamLoadStatsServer) error
}

func (s *server) StreamLoadStats(st loadv3.LoadReportingService_StreamLoadStatsServer) error {
	return s.script(st)
}

func serve(t *testing.T, script func(loadv3.LoadReportingService_StreamLoadStatsServer) error) grpc.ClientConnInterface {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	loadv3.RegisterLoadReportingServiceServer(g, &server{script: script})
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestStreams(t *testing.T) {
	f := &fleet{}
	f.set("web", Cluster{Dropped: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	streams := 0
	conn := serve(t, func(st loadv3.LoadReportingService_StreamLoadStatsServer) error {
		first, err := st.Recv()
		if err != nil {
			return err
		}
		switch streams++; streams {
		case 1:
			if n := first.GetNode(); n.GetId() != "me" || !cmp.Equal(n.GetClientFeatures(), []string{sendAllClusters}) || len(first.GetClusterStats()) != 0 {
				t.Errorf("the first request is %v", first)
			}
			if err := st.Send(&loadv3.LoadStatsResponse{SendAllClusters: true, LoadReportingInterval: durationpb.New(20 * time.Millisecond)}); err != nil {
				return err
			}
			if _, err := st.Recv(); err != nil {
				return err
			}
			f.set("web", Cluster{Dropped: 8})
			return errors.New("enough")
		case 2: // the report goes on where the last stream ended, without being asked again
			next, err := st.Recv()
			if err != nil {
				return err
			}
			dropped := first.GetClusterStats()[0].GetTotalDroppedRequests() + next.GetClusterStats()[0].GetTotalDroppedRequests()
			if dropped != 7 {
				t.Errorf("%d dropped requests were reported, not 7", dropped)
			}
			return nil // an orderly end
		default:
			cancel()
			<-st.Context().Done()
			close(done)
			return nil
		}
	})
	store := stats.NewStore()
	r := New(Options{
		Service: model.GRPCService{Cluster: "lrs", BackOffBase: time.Millisecond, BackOffMax: 2 * time.Millisecond},
		Dial:    func(model.GRPCService) (grpc.ClientConnInterface, error) { return conn, nil },
		Node:    func() *corev3.Node { return &corev3.Node{Id: "me"} }, Clusters: f, Stats: store.Root(), Log: slog.New(slog.DiscardHandler),
	})
	r.Run(ctx)
	<-done
	for name, want := range map[string]uint64{"requests": 1, "errors": 1, "retries": 2} {
		if got := store.Root().Counter("load_reporter." + name).Value(); got != want {
			t.Errorf("load_reporter.%s is %d, want %d", name, got, want)
		}
	}
	if got := store.Root().Counter("load_reporter.responses").Value(); got < 5 {
		t.Errorf("load_reporter.responses is %d, want 5 at the least", got)
	}
}

func TestUnreachable(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	store, attempts := stats.NewStore(), 0
	r := New(Options{
		Service: model.GRPCService{Cluster: "lrs", BackOffBase: time.Millisecond, BackOffMax: time.Millisecond},
		Dial: func(model.GRPCService) (grpc.ClientConnInterface, error) {
			if attempts++; attempts == 3 {
				cancel()
			}
			return nil, errors.New("unknown cluster lrs")
		},
		Stats: store.Root(), Log: slog.New(slog.DiscardHandler),
	})
	r.Run(ctx)
	if got := store.Root().Counter("load_reporter.errors").Value(); got != 2 {
		t.Errorf("load_reporter.errors is %d, want 2", got)
	}
}
