package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// What a response does not hold is gone, but not when some of it cannot be read: that may be what seems to be missing.
func TestGarbageRemovesNothing(t *testing.T) {
	for name, body := range map[string]*anypb.Any{
		"bytes that are no message": {TypeUrl: xds.ClusterType, Value: []byte{0xff, 0xff}},
		"a message without a name":  {TypeUrl: xds.ClusterType, Value: []byte{0xf8, 0x7f, 1}},
		"an unknown type":           {TypeUrl: "type.googleapis.com/no.Such"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			if err := r.full(t, xds.ClusterType, "1", plain("1s")); err != nil {
				t.Fatal(err)
			}
			err := r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "2", Full: true, Resources: []xds.Resource{{Version: "2", Body: body}}})
			if err == nil {
				t.Error("accepted")
			}
			if diff := cmp.Diff([]string{"plain"}, r.clusters()); diff != "" {
				t.Error(diff)
			}
			if err := r.full(t, xds.ClusterType, "3", ""); err != nil {
				t.Fatal(err)
			}
			if got := r.clusters(); len(got) != 0 {
				t.Errorf("clusters %v", got)
			}
		})
	}
}

func TestGarbageRemovesNoListeners(t *testing.T) {
	for name, body := range map[string]*anypb.Any{
		"bytes that are no message": {TypeUrl: xds.ListenerType, Value: []byte{0xff, 0xff}},
		"another type":              {TypeUrl: xds.ClusterType, Value: []byte{0x0a, 1, 'c'}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			if err := r.full(t, xds.ListenerType, "1", at(tcpListener, "l", "1")); err != nil {
				t.Fatal(err)
			}
			err := r.Update(t.Context(), xds.Update{Type: xds.ListenerType, Version: "2", Full: true, Resources: []xds.Resource{{Version: "2", Body: body}}})
			if err == nil {
				t.Error("accepted")
			}
			if diff := cmp.Diff([]string{"l"}, r.listeners()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A resource of a type that is subscribed by name is ignored when nothing asked for it, but not when nobody can tell what it is.
func TestGarbageIsRejected(t *testing.T) {
	for _, typeURL := range []string{xds.EndpointType, xds.RouteType, xds.SecretType, xds.FilterType} {
		for name, body := range map[string]*anypb.Any{
			"bytes that are no message": {TypeUrl: typeURL, Value: []byte{0xff, 0xff}},
			"another type":              {TypeUrl: xds.ClusterType, Value: []byte{0x0a, 1, 'c'}},
		} {
			t.Run(typeURL+"/"+name, func(t *testing.T) {
				r := newRig(t, nil)
				if err := r.Update(t.Context(), xds.Update{Type: typeURL, Version: "1", Full: true, Resources: []xds.Resource{{Body: body}}}); err == nil {
					t.Error("accepted")
				}
			})
		}
	}
}

// A response that is not looked at changes nothing, is counted, and lets what waits for its resources go on without.
func TestRefusedResponseHoldsNothingUp(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ClusterType, "1", edsCluster); err != nil {
		t.Fatal(err)
	}
	if got := r.clusters(); len(got) != 0 {
		t.Fatalf("clusters %v", got)
	}
	no := errors.New("two things at once")
	u := xds.Update{Type: xds.EndpointType, Version: "1", Refused: no, Resources: resources(t, endpoints)}
	for i := range u.Resources {
		u.Resources[i].Name = "ends"
	}
	if err := r.Update(t.Context(), u); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"eds"}, r.clusters()); diff != "" {
		t.Error(diff)
	}
	if r.Snapshot().Endpoints.Get("ends") != nil {
		t.Error("it has the endpoints of the refused response")
	}
	r.counter(t, "cluster.eds.update_rejected", 1)
}
