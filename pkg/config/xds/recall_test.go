package xds

import (
	"slices"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// A control plane that stood still for longer than a TTL goes on with heart-beats for what has expired meanwhile: it is asked to send
// that again, once, and what it does not send is not asked for over and over.
func TestHeartbeatsForWhatExpired(t *testing.T) {
	for _, c := range []struct {
		name  string
		delta bool
		asks  func(*Mux)
	}{
		{"state of the world, all", false, func(m *Mux) { m.SubscribeAll(ClusterType) }},
		{"state of the world, by name", false, func(m *Mux) { m.Subscribe(ClusterType, "a") }},
		{"delta, all", true, func(m *Mux) { m.SubscribeAll(ClusterType) }},
		{"delta, by name", true, func(m *Mux) { m.Subscribe(ClusterType, "a") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.Delta = c.delta })
			c.asks(r.mux)
			r.run(t)
			s := r.stream(t)
			var asked func() (version string, names []string)
			if c.delta {
				asked = func() (string, []string) {
					q := receive(t, s.delta)
					return "", q.ResourceNamesSubscribe
				}
			} else {
				asked = func() (string, []string) {
					q := receive(t, s.sotw)
					return q.VersionInfo, q.ResourceNames
				}
			}
			asked()
			s.send(c.delta, ClusterType, "v1", "1", leased(t, "a", "1", 150*time.Millisecond, false))
			r.rec.next(t)
			asked() // the ACK
			if u := r.rec.next(t); !slices.Equal(u.Removed, []string{"a"}) || !u.Expired {
				t.Fatalf("expiry %+v", u)
			}
			s.send(c.delta, ClusterType, "v1", "2", leased(t, "a", "1", time.Hour, true))
			r.rec.next(t)
			version, names := asked()
			for c.delta && len(names) == 0 { // the ACK, and the leaving of a name
				version, names = asked()
			}
			if version != "" || c.delta && !slices.Equal(names, []string{"a"}) {
				t.Errorf("after the heart-beat weir says that it has %q, and asks for %q", version, names)
			}
			s.send(c.delta, ClusterType, "v1", "3", leased(t, "a", "1", time.Hour, false))
			if u := r.rec.next(t); len(u.Resources) != 1 || u.Resources[0].Body == nil {
				t.Errorf("update %+v", u)
			}
			version, names = asked()
			if !c.delta && version != "v1" || c.delta && len(names) > 0 {
				t.Errorf("after it came again weir says that it has %q, and asks for %q", version, names)
			}
			s.send(c.delta, ClusterType, "v1", "4", leased(t, "a", "1", time.Hour, true))
			r.rec.next(t)
			if version, names = asked(); !c.delta && version != "v1" || c.delta && len(names) > 0 {
				t.Errorf("after an ordinary heart-beat weir says that it has %q, and asks for %q", version, names)
			}
		})
	}
}

// What a state-of-the-world control plane has dropped after it expired does not make weir ask for everything again and again.
func TestWhatExpiredMayBeGone(t *testing.T) {
	r := newRig(t, nil)
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	s := r.stream(t)
	receive(t, s.sotw)
	s.send(false, ClusterType, "v1", "1", leased(t, "a", "1", 100*time.Millisecond, false))
	r.rec.next(t)
	receive(t, s.sotw)
	r.rec.next(t)
	var q *discoveryv3.DiscoveryRequest
	for _, nonce := range []string{"2", "3"} {
		s.send(false, ClusterType, "v2", nonce, leased(t, "b", "1", time.Hour, false))
		r.rec.next(t)
		if q = receive(t, s.sotw); q.VersionInfo != "v2" || q.ResponseNonce != nonce {
			t.Errorf("request %v", q)
		}
	}
}
