package controlplane

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// times counts the updates that hold exactly the endpoints of a.
func times(n int) func([]xds.Update) bool {
	return func(all []xds.Update) bool {
		got := 0
		for i := range all {
			if has(xds.EndpointType, "a")(all[i : i+1]) {
				got++
			}
		}
		return got >= n
	}
}

func TestResourceThatWasDroppedComesAgain(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			h := start(t, kind, map[string]string{"eds.yaml": endpointsA})
			s := h.client.sources
			s.Subscribe(ads, xds.EndpointType, "a")
			h.client.await(t, "endpoints", times(1))
			for i := range 3 {
				s.Unsubscribe(ads, xds.EndpointType, "a")
				s.Subscribe(ads, xds.EndpointType, "a")
				h.client.await(t, "endpoints again", times(2+i))
			}
		})
	}
}

func TestServicesOfSingleTypes(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			h := start(t, kind, map[string]string{"all.yaml": clusterA + "---\n" + endpointsA, "ecds.yaml": filterA})
			own := &model.Source{Kind: model.SourceAPI, API: &model.APISource{Type: kind, Services: []model.GRPCService{{Cluster: "xds"}}}}
			h.client.sources.SubscribeAll(own, xds.ClusterType)
			h.client.await(t, "cluster", has(xds.ClusterType, "a"))
			h.client.sources.Subscribe(own, xds.EndpointType, "a")
			h.client.await(t, "endpoints", has(xds.EndpointType, "a"))
			h.client.sources.Subscribe(own, xds.FilterType, "a")
			h.client.await(t, "filter", has(xds.FilterType, "a"))
			if e := h.event(t, Connected); e.Type != "Cluster" {
				t.Errorf("event = %+v", e)
			}
		})
	}
}

func TestClientOutlivesTheServer(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			log := slog.New(slog.NewTextHandler(t.Output(), nil))
			s := New(Options{Log: log})
			if err := s.SetResources(protos(cluster("a"), cluster("b"))); err != nil {
				t.Fatal(err)
			}
			serve := func(addr string) (at string, stop func()) {
				l, err := net.Listen("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- s.Serve(ctx, l) }()
				return l.Addr().String(), func() {
					cancel()
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			}
			addr, stop := serve("127.0.0.1:0")
			c := connect(t, addr, kind, log)
			c.sources.SubscribeAll(ads, xds.ClusterType)
			c.await(t, "both", has(xds.ClusterType, "a", "b"))
			stop()
			// What changed while it was away is told on its return, and no more than that over delta.
			if err := s.SetResources(protos(cluster("a"), cluster("c"))); err != nil {
				t.Fatal(err)
			}
			_, stop = serve(addr)
			defer stop()
			if !kind.Delta() {
				c.await(t, "a and c", has(xds.ClusterType, "a", "c"))
				return
			}
			c.await(t, "c without b", func(all []xds.Update) bool {
				last := all[len(all)-1]
				return has(xds.ClusterType, "c")(all[len(all)-1:]) && len(last.Removed) == 1 && last.Removed[0] == "b"
			})
		})
	}
}
