package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	subscription "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
)

// bigDirectory holds 5,000 clusters with 20 endpoints each, in files of 50.
func bigDirectory(b *testing.B) (dir string, change func(n int)) {
	b.Helper()
	dir = b.TempDir()
	file := func(i, port int) {
		var text strings.Builder
		for j := range 50 {
			name := fmt.Sprintf("c%d", i*50+j)
			fmt.Fprintf(&text, "---\n{\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: %s, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}\n", name)
			fmt.Fprintf(&text, "---\n{\"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment, cluster_name: %s, endpoints: [{lb_endpoints: [", name)
			for k := range 20 {
				p := 1000 + k
				if j == 0 && k == 0 {
					p = port
				}
				fmt.Fprintf(&text, "{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: %d}}}}, ", p)
			}
			text.WriteString("]}]}\n")
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.yaml", i)), []byte(text.String()), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 100 {
		file(i, 1)
	}
	return dir, func(n int) { file(7, 2+n%1000) }
}

// BenchmarkLoadAll reads 100,000 endpoints.
func BenchmarkLoadAll(b *testing.B) {
	dir, _ := bigDirectory(b)
	for b.Loop() {
		if err := New(Options{}).LoadDir(dir); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOneFileChanges changes one endpoint of 100,000 under 20 clients that have all of them.
func BenchmarkOneFileChanges(b *testing.B) {
	dir, change := bigDirectory(b)
	s := New(Options{})
	if err := s.LoadDir(dir); err != nil {
		b.Fatal(err)
	}
	answers := make(chan cache.DeltaResponse, 20)
	for range 20 {
		sub := subscription.NewDeltaSubscription([]string{"*"}, nil, nil, false)
		for _, nonce := range []string{"", "1"} {
			r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, Node: &corev3.Node{}, ResponseNonce: nonce}
			if _, err := s.fleet.CreateDeltaWatch(r, &sub, answers); err != nil {
				b.Fatal(err)
			}
			if len(answers) > 0 {
				sub.SetReturnedResources((<-answers).GetReturnedResources())
			}
		}
	}
	n := 0
	for b.Loop() {
		n++
		change(n)
		if err := s.LoadDir(dir); err != nil {
			b.Fatal(err)
		}
		// The first change finds the clients waiting; afterwards they are slow to ask again.
		if n == 1 && len(answers) != 20 {
			b.Fatalf("%d answers", len(answers))
		}
		for len(answers) > 0 {
			a, err := (<-answers).GetDeltaDiscoveryResponse()
			if err != nil || len(a.GetResources()) != 1 {
				b.Fatalf("answer of %d resources, %v", len(a.GetResources()), err)
			}
		}
	}
}
