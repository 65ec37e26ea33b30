package store

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// hosts counts the endpoints of the assignment "ends"; -1 is no assignment.
func (r *rig) hosts() int {
	a := r.Snapshot().Endpoints.Get("ends")
	if a == nil {
		return -1
	}
	n := 0
	for _, l := range a.Localities {
		n += len(l.Endpoints)
	}
	return n
}

func (r *rig) wantHosts(t *testing.T, when string, want int) {
	t.Helper()
	if got := r.hosts(); got != want {
		t.Errorf("%d endpoints %s, want %d", got, when, want)
	}
}

func TestEndpointsGoStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leased := strings.Replace(endpoints, "endpoints:", "policy: { endpoint_stale_after: 10s }\nendpoints:", 1)
		r := newRig(t, nil)
		update := func(typeURL, yaml string) {
			t.Helper()
			if err := r.full(t, typeURL, "1", yaml); err != nil {
				t.Fatal(err)
			}
		}
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		update(xds.ClusterType, edsCluster)
		update(xds.EndpointType, leased)
		wait(9 * time.Second)
		update(xds.EndpointType, leased) // the same content is a confirmation
		wait(9 * time.Second)
		r.wantHosts(t, "before the lease ended", 1)
		wait(2 * time.Second)
		r.wantHosts(t, "after the lease ended", 0)
		r.counter(t, "cluster.eds.assignment_timeout_received", 2)
		r.counter(t, "cluster.eds.assignment_stale", 1)
		update(xds.EndpointType, leased)
		r.wantHosts(t, "when they came again", 1)
		update(xds.EndpointType, endpoints) // without a lease
		wait(time.Hour)
		r.wantHosts(t, "without a lease", 1)
		update(xds.EndpointType, leased)
		update(xds.ClusterType, "")
		wait(time.Hour)
		r.wantHosts(t, "without a cluster", -1)
		r.counter(t, "cluster.eds.assignment_stale", 1)
	})
}

// A cluster that changes has the endpoints that it had, at once: what delivers them need not say them again.
func TestEndpointsOutliveUpdatesOfTheirCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for _, u := range [][2]string{{xds.ClusterType, edsCluster}, {xds.EndpointType, endpoints}, {xds.ClusterType, strings.Replace(edsCluster, "type: EDS", "type: EDS\nconnect_timeout: 9s", 1)}} {
			if err := r.full(t, u[0], "1", u[1]); err != nil {
				t.Fatal(err)
			}
		}
		r.wantHosts(t, "after the update", 1)
		if c := r.Snapshot().Clusters.Get("eds"); c == nil || c.ConnectTimeout != 9*time.Second {
			t.Errorf("cluster = %+v: it waits for what is there", c)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		r.wantHosts(t, "after the time for the first fetch", 1)
		r.counter(t, "cluster.eds.init_fetch_timeout", 0)
	})
}

// initial_fetch_timeout: 0s waits without an end.
func TestFetchWithoutTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		if err := r.full(t, xds.ClusterType, "1", strings.ReplaceAll(edsCluster, "ads: {}", "ads: {}, initial_fetch_timeout: 0s")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := r.clusters(); len(got) != 0 {
			t.Errorf("clusters = %v", got)
		}
		if err := r.full(t, xds.EndpointType, "1", endpoints); err != nil {
			t.Fatal(err)
		}
		if got := r.clusters(); len(got) != 1 {
			t.Errorf("clusters = %v", got)
		}
		r.counter(t, "cluster.eds.init_fetch_timeout", 0)
	})
}

// An assignment of which no form was ever accepted goes, too.
func TestRejectedEndpointsGo(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ClusterType, "1", edsCluster); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.EndpointType, "1", strings.Replace(endpoints, "127.0.0.1", "nonsense", 1)); err == nil {
		t.Error("a bad address was accepted")
	}
	if err := r.full(t, xds.ClusterType, "2", ""); err != nil {
		t.Fatal(err)
	}
	r.wantHosts(t, "without a cluster", -1)
}
