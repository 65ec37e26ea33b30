package store

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/log"
)

// fleet is a store with n clusters by EDS, as many route configurations, and a listener for each of these.
func fleet(t *testing.T, n int) *rig {
	t.Helper()
	r := newRig(t, func(o *Options) {
		o.Log = log.Discard()
		o.Publish = func(*model.Snapshot) {}
	})
	var clusters, ends, lists, tables strings.Builder
	for i := range n {
		clusters.WriteString(numbered(edsCluster, i))
		ends.WriteString(numbered(endpoints, i))
		lists.WriteString(numbered(at(rdsListener, "web", fmt.Sprint(1000+i)), i))
		tables.WriteString(numbered(strings.ReplaceAll(routes, "%DOMAINS%", `"*"`), i))
	}
	for _, u := range []xds.Update{
		{Type: xds.ClusterType, Resources: resources(t, clusters.String())},
		{Type: xds.EndpointType, Resources: resources(t, ends.String())},
		{Type: xds.ListenerType, Resources: resources(t, lists.String())},
		{Type: xds.RouteType, Resources: resources(t, tables.String())},
	} {
		if err := r.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Snapshot()
	if s.Clusters.Len() != n || s.Endpoints.Len() != n || s.Listeners.Len() != n || s.Routes.Len() != n {
		t.Fatalf("%d clusters, %d endpoints, %d listeners, %d routes of %d", s.Clusters.Len(), s.Endpoints.Len(), s.Listeners.Len(), s.Routes.Len(), n)
	}
	return r
}

// numbered makes a resource that is named in one of the test's ways the one with a number.
func numbered(yaml string, i int) string {
	return strings.NewReplacer("name: eds\n", fmt.Sprintf("name: eds-%d\n", i), "name: ends", fmt.Sprintf("name: ends-%d", i),
		"name: web", fmt.Sprintf("name: web-%d", i)).Replace(yaml)
}

// allocated is the number of bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestUpdateCost pins that the change of one resource costs the same however many there are: a list of all of them, or a map
// that is copied, would show in the bytes.
func TestUpdateCost(t *testing.T) {
	const few, many = 20, 400
	changes := []struct{ name, typeURL, one, other string }{
		{"endpoint", xds.EndpointType, endpoints, strings.ReplaceAll(endpoints, "port_value: 1", "port_value: 2")},
		{"cluster", xds.ClusterType, edsCluster, strings.ReplaceAll(edsCluster, "type: EDS", "type: EDS\nconnect_timeout: 2s")},
		{"route", xds.RouteType, strings.ReplaceAll(routes, "%DOMAINS%", `"*"`), strings.ReplaceAll(routes, "%DOMAINS%", `"a"`)},
		{"listener", xds.ListenerType, at(rdsListener, "web", "1007"), at(rdsListener, "web", "3007")},
	}
	cost := map[string]map[int]uint64{}
	for _, n := range []int{few, many} {
		r := fleet(t, n)
		for _, c := range changes {
			forms := [][]xds.Resource{resources(t, numbered(c.other, 7)), resources(t, numbered(c.one, 7))}
			generation := r.Snapshot().Generation
			bytes := allocated(func() {
				for i := range 20 {
					if err := r.Update(t.Context(), xds.Update{Type: c.typeURL, Version: fmt.Sprint(i), Resources: forms[i%2]}); err != nil {
						t.Fatal(err)
					}
					r.Attempt(xds.Asked{Type: c.typeURL, Names: []string{"ends-7"}})
				}
			})
			if got := r.Snapshot().Generation; got != generation+20 {
				t.Errorf("%s: %d changes were published of 20", c.name, got-generation)
			}
			if cost[c.name] == nil {
				cost[c.name] = map[int]uint64{}
			}
			cost[c.name][n] = bytes / 20
		}
	}
	for name, by := range cost {
		if by[many] > by[few]*3/2+2000 {
			t.Errorf("one %s costs %d bytes of %d and %d of %d", name, by[few], few, by[many], many)
		}
	}
}

// TestUnchangedResourcesAreNotRead pins that a state-of-the-world response costs little for what it repeats.
func TestUnchangedResourcesAreNotRead(t *testing.T) {
	const n = 200
	var all strings.Builder
	for i := range n {
		all.WriteString(strings.ReplaceAll(plain("1s"), "plain", fmt.Sprint("plain-", i)))
	}
	r := newRig(t, func(o *Options) { o.Log = log.Discard() })
	first := xds.Update{Type: xds.ClusterType, Version: "1", Full: true, Resources: resources(t, all.String())}
	again := first
	again.Version, again.Resources = "2", resources(t, strings.Replace(all.String(), "connect_timeout: 1s", "connect_timeout: 2s", 1))
	update := func(u xds.Update) func() {
		return func() {
			if err := r.Update(t.Context(), u); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole, repeated := allocated(update(first)), allocated(update(again))
	if repeated > whole/5 {
		t.Errorf("%d clusters cost %d bytes, and %d to be told of one that changed", n, whole, repeated)
	}
	if r.Snapshot().Clusters.Len() != n || r.Snapshot().Generation != 3 {
		t.Errorf("%d clusters in generation %d", r.Snapshot().Clusters.Len(), r.Snapshot().Generation)
	}
	r.counter(t, "cluster_manager.cluster_modified", 1)
	for _, c := range r.Dump().Clusters {
		if c.Active.Version != "r1" || c.Active.Updated.IsZero() {
			t.Errorf("%s has version %q", c.Name, c.Active.Version)
		}
	}
}

// TestUnchangedClearsTheFailure goes back, after a change for the worse, to the bytes that are in force.
func TestUnchangedClearsTheFailure(t *testing.T) {
	r := newRig(t, nil)
	for _, step := range []struct {
		timeout string
		failed  bool
	}{{"1s", false}, {"-1s", true}, {"1s", false}} {
		if err := r.full(t, xds.ClusterType, "1", plain(step.timeout)); (err != nil) != step.failed {
			t.Fatalf("%s: %v", step.timeout, err)
		}
		if got := r.Dump().Clusters[0].Failure != nil; got != step.failed {
			t.Errorf("%s: failure shown: %v", step.timeout, got)
		}
	}
	if err := r.full(t, xds.ClusterType, "1", plain("1s")+plain("1s")); err == nil || !strings.Contains(err.Error(), "duplicate") {
		t.Errorf("the same cluster twice: %v", err)
	}
}

// TestWarmingTwice replaces a cluster while it warms: one wait, one promotion, of the newest form, and nothing left behind.
func TestWarmingTwice(t *testing.T) {
	r := newRig(t, nil)
	for _, timeout := range []string{"1s", "2s", "3s"} {
		if err := r.full(t, xds.ClusterType, timeout, strings.ReplaceAll(edsCluster, "type: EDS", "type: EDS\nconnect_timeout: "+timeout)); err != nil {
			t.Fatal(err)
		}
	}
	warming := func() uint64 { return r.stats.Root().Scope("cluster.eds").Gauge("warming_state").Value() }
	if warming() != 1 || r.stats.Root().Gauge("cluster_manager.warming_clusters").Value() != 1 {
		t.Error("the gauges do not say that the cluster warms")
	}
	if n := len(r.deps.wants[key{xds.EndpointType, "ends"}].waiters); n != 1 || r.Store.clusters.warming != 1 {
		t.Errorf("%d waiters, %d clusters warm", n, r.Store.clusters.warming)
	}
	if err := r.full(t, xds.EndpointType, "1", endpoints); err != nil {
		t.Fatal(err)
	}
	c := r.Snapshot().Clusters.Get("eds")
	if c == nil || c.ConnectTimeout.Seconds() != 3 || r.Store.clusters.warming != 0 || len(r.deps.pending) != 0 {
		t.Errorf("cluster %+v, %d warm, pending %v", c, r.Store.clusters.warming, r.deps.pending)
	}
	if warming() != 0 || r.stats.Root().Gauge("cluster_manager.warming_clusters").Value() != 0 {
		t.Error("the gauges say that the cluster still warms")
	}
	// Its endpoints are kept when only the cluster changes, and it need not wait for them again.
	if err := r.full(t, xds.ClusterType, "4", strings.ReplaceAll(edsCluster, "type: EDS", "type: EDS\nconnect_timeout: 4s")); err != nil {
		t.Fatal(err)
	}
	if s := r.Snapshot(); s.Clusters.Get("eds").ConnectTimeout.Seconds() != 4 || s.Endpoints.Get("ends") == nil {
		t.Error("the cluster waits for endpoints that are there")
	}
	// A cluster that is removed while it warms takes its wait along.
	if err := r.full(t, xds.ClusterType, "5", numbered(edsCluster, 1)); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.ClusterType, "6", ""); err != nil {
		t.Fatal(err)
	}
	if len(r.deps.wants) != 0 || len(r.deps.pending) != 0 || r.Store.clusters.warming != 0 {
		t.Errorf("wants %v, pending %v, %d warm", r.deps.wants, r.deps.pending, r.Store.clusters.warming)
	}
}

func FuzzPeekName(f *testing.F) {
	f.Add([]byte("\x0a\x03abc"))
	f.Add([]byte("\x0a\x03abc\x0a\x01d"))
	f.Add([]byte("\x12\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := xds.Resource{Name: "n", Body: &anypb.Any{TypeUrl: xds.EndpointType, Value: b}}
		m := &endpointv3.ClusterLoadAssignment{}
		name := r.PeekName()
		if r.Body.UnmarshalTo(m) == nil && name != nameOf(m.GetClusterName(), "n") {
			t.Errorf("peeked %q in a message called %q", name, m.GetClusterName())
		}
	})
}
