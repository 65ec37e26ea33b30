package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// pending waits until n requests wait for a name.
func pending(t *testing.T, s *Store, list func() asks, name string, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		s.mu.Lock()
		a := list()[name]
		ok := a != nil && a.waiting == n
		s.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests do not wait for %s", n, name)
		}
		<-time.After(time.Millisecond)
	}
}

const wantedCluster = `
"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: plain
type: STATIC
load_assignment: {cluster_name: plain}
`

func TestFetchCluster(t *testing.T) {
	ads, plain := &model.Source{Kind: model.SourceADS}, resources(t, wantedCluster)
	for _, c := range []struct {
		name   string
		answer func(r *rig) error
		there  bool
	}{
		{"it comes", func(r *rig) error {
			return r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "1", Resources: plain})
		}, true},
		{"there is none", func(r *rig) error {
			return r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "1", Removed: []string{"plain"}})
		}, false},
		{"there is none, in another form", func(r *rig) error {
			return r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "1", Resources: []xds.Resource{{Name: "plain"}}})
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			const many = 8
			var wg sync.WaitGroup
			for range many {
				wg.Go(func() {
					if err := r.FetchCluster(t.Context(), ads, "plain"); err != nil {
						t.Error(err)
					}
					if there := r.Snapshot().Clusters.Get("plain") != nil; there != c.there {
						t.Errorf("after the wait the cluster is there: %v", there)
					}
				})
			}
			pending(t, r.Store, func() asks { return r.demand.asks }, "plain", many)
			if err := c.answer(r); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if r.src.wanted["Cluster plain"] != c.there {
				t.Errorf("the subscription stays: %v", !c.there)
			}
			if !c.there {
				return
			}
			if err := r.full(t, xds.ClusterType, "2", ""); err != nil || r.Snapshot().Clusters.Get("plain") == nil {
				t.Errorf("a response of CDS took the cluster away that was asked for by name: %v", err)
			}
			if err := r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "3", Removed: []string{"plain"}}); err != nil {
				t.Fatal(err)
			}
			if r.src.wanted["Cluster plain"] {
				t.Error("the subscription outlives the cluster")
			}
		})
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	r := newRig(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.FetchCluster(ctx, &model.Source{Kind: model.SourceADS}, "plain") }()
	pending(t, r.Store, func() asks { return r.demand.asks }, "plain", 1)
	cancel()
	if err := <-done; err == nil {
		t.Error("the wait ended without a reason")
	}
	if r.src.wanted["Cluster plain"] || len(r.demand.asks) != 0 {
		t.Error("something is left of a question that nobody waits for")
	}
}

func TestVirtualHostsCostWhatChanges(t *testing.T) {
	r := newRig(t, nil)
	host := func(name string) xds.Resource {
		out := resources(t, fmt.Sprintf(`
"@type": type.googleapis.com/envoy.config.route.v3.VirtualHost
name: %s
domains: [%s.test]
routes: [{match: {prefix: /}, direct_response: {status: 200}}]
---
`, name, name))[0]
		out.Name = "web/" + name
		return out
	}
	if err := r.full(t, xds.ListenerType, "1", strings.NewReplacer("%NAME%", "web", "%PORT%", "8080").Replace(rdsListener)); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.RouteType, "1", `
"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: web
vhds: {config_source: {resource_api_version: V3, ads: {}}}
---
`); err != nil {
		t.Fatal(err)
	}
	if r.Snapshot().Listeners.Len() != 0 {
		t.Error("the listener did not wait for VHDS")
	}
	for _, name := range []string{"a", "b"} {
		if err := r.Update(t.Context(), xds.Update{Type: xds.VirtualHostType, Version: name, Resources: []xds.Resource{host(name)}}); err != nil {
			t.Fatal(err)
		}
	}
	before := r.Snapshot()
	if before.Listeners.Len() != 1 {
		t.Error("the listener waits on")
	}
	if err := r.Update(t.Context(), xds.Update{Type: xds.VirtualHostType, Version: "c", Resources: []xds.Resource{host("c"), host("a")}}); err != nil {
		t.Fatal(err)
	}
	now := r.Snapshot()
	if !now.Routes.Same(before.Routes) || now.Hosts.Get("web").Owner("a.test") != before.Hosts.Get("web").Owner("a.test") {
		t.Error("what did not change was made anew")
	}
	if now.Hosts.Get("web").Owner("c.test") == nil || before.Hosts.Get("web").Owner("c.test") != nil {
		t.Error("the new virtual host is not where it belongs")
	}
}
