package e2e

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weir-proxy/weir/test/harness"
)

// underLoad asks without a pause, on kept and on new connections, while change runs. Not one request may fail.
func underLoad(t *testing.T, m *meshed, change func()) {
	t.Helper()
	var stop atomic.Bool
	var load sync.WaitGroup
	var asked atomic.Int64
	kept, fresh := m.host.Client(), m.host.Client()
	fresh.Transport = &http.Transport{DialContext: m.host.Dial, DisableKeepAlives: true}
	for _, c := range []*http.Client{kept, kept, kept, fresh} {
		load.Go(func() {
			for !stop.Load() {
				if err := answered(t, c); err != nil {
					t.Errorf("request %d: %v", asked.Load(), err)
					return
				}
				asked.Add(1)
			}
		})
	}
	defer load.Wait()
	defer stop.Store(true)
	change()
	if n := asked.Load(); n < 200 {
		t.Errorf("%d requests are too few for the test to mean anything", n)
	}
	t.Logf("%d requests", asked.Load())
}

// Traffic is shifted from one version to the other and back.
func TestShiftUnderLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			underLoad(t, m, func() {
				for i := range 6 {
					m.weights = [2]int{100 * (i % 2), 100 * (1 - i%2)}
					to := []*harness.HTTPBackend{m.two, m.one}[i%2]
					m.control.Set(m.resources()...)
					from := to.Count()
					harness.Eventually(t, "the other version is asked", func() bool { return to.Count() > from+50 })
				}
			})
		})
	}
}

// Endpoints come and go.
func TestEndpointsChangeUnderLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			three := m.host.HTTPBackend("three", "127.0.0.1:0")
			underLoad(t, m, func() {
				for i := range 6 {
					to := []*harness.HTTPBackend{three, m.one}[i%2]
					m.mesh.one = harness.To(to.Addr)
					m.control.Set(m.resources()...)
					from := to.Count()
					harness.Eventually(t, "the other endpoint is asked", func() bool { return to.Count() > from+50 })
				}
			})
			harness.Eventually(t, "connections to the endpoint that has gone are closed", func() bool { return three.Conns() == 0 })
		})
	}
}

// The listener itself changes: connections that are kept are asked to go, none is cut off.
func TestListenerChangesUnderLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			underLoad(t, m, func() {
				for i := range 4 {
					to := []*harness.HTTPBackend{m.two, m.one}[i%2]
					resources := m.resources()
					for n, r := range resources {
						if l, ok := r.(*listenerv3.Listener); ok && l.GetName() == "plain" {
							resources[n] = harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
								Name: "plain", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", to.Name)))},
							}.YAML())
						}
					}
					m.control.Set(resources...)
					from := to.Count()
					harness.Eventually(t, "the new listener is asked", func() bool { return to.Count() > from+50 })
				}
			})
			m.weir.AwaitStat("listener_manager.total_filter_chains_draining", func(n int) bool { return n == 0 })
		})
	}
}

// A process that has nothing to do does nothing, also when it has lost its control plane and some of its configuration was
// rejected.
func TestIdleCostsNothing(t *testing.T) {
	t.Parallel()
	m := startMesh(t, "GRPC")
	m.control.Set(append(m.resources(), harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
		Name: "bad", Address: "127.0.0.1:8082", Chains: []string{harness.Chain(unimplemented)},
	}.YAML()))...)
	m.control.AwaitRejection("Listener")
	for _, state := range []string{"after a rejection", "without a control plane"} {
		before, start := m.weir.CPU(), time.Now()
		<-time.After(time.Second) // what is measured is the time that passes
		if used, passed := m.weir.CPU()-before, time.Since(start); used > passed/5 {
			t.Errorf("%s: %s of CPU in %s", state, used, passed)
		}
		m.control.Stop()
	}
	if n := len(m.control.Events()); n > 40 {
		t.Errorf("%d messages between weir and the control plane: they go round in circles", n)
	}
}
