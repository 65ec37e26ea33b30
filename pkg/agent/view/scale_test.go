package view

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// fill brings clusters of EDS with endpoints each.
func (w *world) fill(t testing.TB, clusters, endpoints int) {
	t.Helper()
	ads := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, ResourceApiVersion: corev3.ApiVersion_V3}
	var cds, eds []proto.Message
	for i := range clusters {
		name := fmt.Sprintf("outbound|80||service-%d.default.svc.cluster.local", i)
		cds = append(cds, &clusterv3.Cluster{
			Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}, EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads},
		})
		a := &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{}}}
		for k := range endpoints {
			a.Endpoints[0].LbEndpoints = append(a.Endpoints[0].LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
					Address: fmt.Sprintf("10.%d.%d.%d", i>>8, i&255, k), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 8080},
				}}}},
			}})
		}
		eds = append(eds, a)
	}
	if err := w.store.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "c2", Full: true, Resources: resources(t, cds...)}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Update(t.Context(), xds.Update{Type: xds.EndpointType, Version: "e2", Resources: resources(t, eds...)}); err != nil {
		t.Fatal(err)
	}
}

// sink takes an answer and keeps none of it, but for how much memory was in use at most while it came.
type sink struct {
	header http.Header
	bytes  int
	writes int
	most   uint64
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(int)     {}
func (s *sink) Write(b []byte) (int, error) {
	s.bytes += len(b)
	if s.writes++; s.writes%64 == 0 {
		runtime.GC()
		s.most = max(s.most, heap())
	}
	return len(b), nil
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestDumpsDoNotHoldThemselves asks for dumps that are much larger than what they may hold at a time.
func TestDumpsDoNotHoldThemselves(t *testing.T) {
	w := newWorld(t)
	w.fill(t, 1000, 20)
	s := w.server(t)
	for _, target := range []string{"/config_dump?include_eds", "/clusters", "/clusters?format=json", "/config_dump?resource=dynamic_endpoint_configs&include_eds"} {
		runtime.GC()
		before := heap()
		out := &sink{header: http.Header{}}
		start := time.Now()
		s.ServeHTTP(out, httptest.NewRequest(http.MethodGet, target, nil))
		held := int(out.most) - int(before)
		t.Logf("%s: %d bytes in %v, %d held", target, out.bytes, time.Since(start), held)
		if out.bytes < 4<<20 || held > out.bytes/4 {
			t.Errorf("%s: %d of %d bytes are held", target, held, out.bytes)
		}
	}
}

// discard takes an answer and keeps none of it.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(b []byte) (int, error) { return len(b), nil }

func BenchmarkDump(b *testing.B) {
	w := newWorld(b)
	w.fill(b, 1000, 20)
	s := w.server(b)
	for _, target := range []string{"/config_dump", "/config_dump?include_eds", "/clusters", "/clusters?format=json"} {
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.ServeHTTP(discard{http.Header{}}, httptest.NewRequest(http.MethodGet, target, nil))
			}
		})
	}
}
