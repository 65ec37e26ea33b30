package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// portsAssignment has an endpoint for each port.
func portsAssignment(ports ...int) string {
	var out strings.Builder
	out.WriteString("\n\"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\ncluster_name: ends\nendpoints:\n- lb_endpoints:\n")
	for _, p := range ports {
		fmt.Fprintf(&out, "  - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: %d}}}\n", p)
	}
	return out.String() + "---\n"
}

// An assignment that changes in few endpoints costs these, and what is bad in it is told as ever.
func TestReassign(t *testing.T) {
	r := newRig(t, nil)
	var few, many []int
	for p := range 400 {
		many = append(many, 1000+p)
	}
	few = many[:20]
	tell := func(version string, ports ...int) error {
		return r.full(t, xds.EndpointType, version, portsAssignment(ports...))
	}
	if err := r.full(t, xds.ClusterType, "1", edsCluster); err != nil {
		t.Fatal(err)
	}
	cost := map[int]uint64{}
	for _, ports := range [][]int{few, many} {
		if err := tell("1", ports...); err != nil {
			t.Fatal(err)
		}
		before := r.Snapshot().Endpoints.Get("ends").Localities[0].Endpoints
		change := resources(t, portsAssignment(append([]int{7}, ports[1:]...)...))
		cost[len(ports)] = allocated(func() {
			if err := r.Update(t.Context(), xds.Update{Type: xds.EndpointType, Version: "2", Resources: change}); err != nil {
				t.Fatal(err)
			}
		})
		now := r.Snapshot().Endpoints.Get("ends").Localities[0].Endpoints
		if now[0].Port != 7 || now[1] != before[1] || now[len(now)-1] != before[len(before)-1] {
			t.Errorf("of %d endpoints others were made anew than the one that changed", len(ports))
		}
	}
	if cost[400] > cost[20]+50_000 { // some words for each endpoint; translated, each takes more than 500 bytes
		t.Errorf("a change of one endpoint allocates %d bytes with 20 of them, %d with 400", cost[20], cost[400])
	}

	err := tell("3", append([]int{7, 70000}, many[2:]...)...)
	if err == nil || !strings.Contains(err.Error(), "endpoints[0].lb_endpoints[1]") {
		t.Errorf("the second endpoint is bad: %v", err)
	}
	if got := r.Snapshot().Endpoints.Get("ends").Localities[0].Endpoints; len(got) != 400 || got[0].Port != 7 {
		t.Error("a bad change is in force")
	}
	if err := tell("4", 1, 2, 3); err != nil || len(r.Snapshot().Endpoints.Get("ends").Localities[0].Endpoints) != 3 {
		t.Errorf("a good change after it is not in force: %v", err)
	}
}
