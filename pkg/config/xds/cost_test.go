package xds

import (
	"fmt"
	"runtime"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// TestDeltaRequestCost pins that what is said after a change of one resource does not depend on how many are subscribed.
func TestDeltaRequestCost(t *testing.T) {
	cost := map[int]uint64{}
	for _, names := range []int{50, 5000} {
		m := NewMux(Options{Delta: true})
		for i := range names {
			m.Subscribe(EndpointType, fmt.Sprint("service-", i))
		}
		first := m.due()
		if got := len(first[0].message().(*discoveryv3.DeltaDiscoveryRequest).ResourceNamesSubscribe); got != names {
			t.Fatalf("the first request asks for %d names", got)
		}
		u := Update{Type: EndpointType, Resources: []Resource{{Name: "service-7", Version: "2"}}}
		cost[names] = allocated(100, func() {
			m.settle(u, "n", nil)
			m.Subscribe(EndpointType, "one-more")
			m.Unsubscribe(EndpointType, "service-1")
			r := m.due()[0].message().(*discoveryv3.DeltaDiscoveryRequest)
			if len(r.ResourceNamesSubscribe) != 1 || len(r.ResourceNamesUnsubscribe) != 1 || r.ResponseNonce != "n" {
				t.Fatalf("request %v", r)
			}
			m.Subscribe(EndpointType, "service-1")
			m.Unsubscribe(EndpointType, "one-more")
			m.due()
		})
	}
	if cost[5000] > 2*cost[50] {
		t.Errorf("bytes allocated by number of names: %v", cost)
	}
}

// allocated is the number of bytes that f allocates in so many runs: unlike the number of allocations it tells of lists that
// are as long as all names.
func allocated(runs int, f func()) uint64 {
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
