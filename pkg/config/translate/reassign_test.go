package translate

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// assignmentOf has a locality for each list, with an endpoint for each port in it.
func assignmentOf(ports ...[]uint32) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: "c", Policy: &endpointv3.ClusterLoadAssignment_Policy{
		OverprovisioningFactor: wrapperspb.UInt32(150),
	}}
	for i, list := range ports {
		l := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: fmt.Sprint(i)}, Priority: uint32(i)}
		for _, port := range list {
			l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{
				LoadBalancingWeight: wrapperspb.UInt32(port),
				Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
					"envoy.lb": {Fields: map[string]*structpb.Value{"port": structpb.NewNumberValue(float64(port))}},
				}},
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{
					Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
						Address: "10.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
					}},
				}}},
			})
		}
		out.Endpoints = append(out.Endpoints, l)
	}
	return out
}

// reassigned translates after by its difference from before; nil when it has to be looked at as a whole.
func reassigned(t *testing.T, tr *Translator, was *model.LoadAssignment, before, after []byte) *model.LoadAssignment {
	t.Helper()
	used := &Reassigner{} // by others before
	used.Compare(&model.LoadAssignment{}, after, before)
	used.Compare(was, before, before)
	r := used.Compare(was, before, after)
	if r == nil {
		return nil
	}
	m := &endpointv3.ClusterLoadAssignment{}
	if err := proto.Unmarshal(r.After, m); err != nil {
		return nil
	}
	part, _, err := tr.LoadAssignment(m, Meta{Version: "2"})
	if err != nil {
		return nil
	}
	return r.Merge(part)
}

func TestReassign(t *testing.T) {
	tr := testTranslator(t)
	rng := rand.New(rand.NewPCG(1, 2))
	list := func(n int) []uint32 {
		out := make([]uint32, n)
		for i := range out {
			out[i] = 1 + rng.Uint32N(12)
		}
		return out
	}
	for range 2000 {
		old := [][]uint32{list(rng.IntN(8)), list(rng.IntN(8))}
		next := [][]uint32{slices.Clone(old[0]), slices.Clone(old[1])}
		for range rng.IntN(4) {
			at := rng.IntN(2)
			switch i := rng.IntN(len(next[at]) + 1); {
			case rng.IntN(3) == 0 || i == len(next[at]):
				next[at] = slices.Insert(next[at], i, 1+rng.Uint32N(12))
			case rng.IntN(2) == 0:
				next[at] = slices.Delete(next[at], i, i+1)
			default:
				next[at][i] = 1 + rng.Uint32N(12)
			}
		}
		was, _, err := tr.LoadAssignment(assignmentOf(old...), Meta{Version: "1"})
		if err != nil {
			t.Fatal(err)
		}
		whole := assignmentOf(next...)
		want, _, err := tr.LoadAssignment(whole, Meta{Version: "2"})
		if err != nil {
			t.Fatal(err)
		}
		got := reassigned(t, tr, was, marshal(t, assignmentOf(old...)), marshal(t, whole))
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(model.Resource{}, "Hash"), cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Fatalf("%v to %v (-want +got):\n%s", old, next, diff)
		}
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is the same is neither decoded nor made anew.
func TestReassignKeeps(t *testing.T) {
	tr := testTranslator(t)
	old, next := assignmentOf([]uint32{1, 2, 3}, []uint32{4, 5}), assignmentOf([]uint32{1, 9, 3}, []uint32{4, 5})
	was, _, err := tr.LoadAssignment(old, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	r := new(Reassigner).Compare(was, marshal(t, old), marshal(t, next))
	if want := marshal(t, assignmentOf([]uint32{9}, nil)); !sameMessage(t, r.After, want) {
		t.Errorf("more than what differs is left")
	}
	got := reassigned(t, tr, was, marshal(t, old), marshal(t, next))
	for i, l := range got.Localities {
		for j, e := range l.Endpoints {
			if kept := e == was.Localities[i].Endpoints[j]; kept == (i == 0 && j == 1) {
				t.Errorf("endpoint %d of locality %d is kept: %v", j, i, kept)
			}
		}
	}
	if got.Hash == was.Hash || got.Version != "2" {
		t.Errorf("hash %x, version %q", got.Hash, got.Version)
	}
}

func sameMessage(t *testing.T, a, b []byte) bool {
	t.Helper()
	x, y := &endpointv3.ClusterLoadAssignment{}, &endpointv3.ClusterLoadAssignment{}
	if proto.Unmarshal(a, x) != nil || proto.Unmarshal(b, y) != nil {
		t.Fatal("not a message")
	}
	return proto.Equal(x, y)
}

func TestReassignDeclines(t *testing.T) {
	tr := testTranslator(t)
	old := assignmentOf([]uint32{1, 2}, []uint32{3})
	was, _, err := tr.LoadAssignment(old, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := assignmentOf([]uint32{1, 2}, []uint32{3})
	elsewhere.Endpoints[1].LbConfig = &endpointv3.LocalityLbEndpoints_LoadBalancerEndpoints{
		LoadBalancerEndpoints: &endpointv3.LocalityLbEndpoints_LbEndpointList{LbEndpoints: old.Endpoints[1].LbEndpoints},
	}
	for name, after := range map[string][]byte{
		"another number of localities": marshal(t, assignmentOf([]uint32{1, 2})),
		"endpoints elsewhere":          marshal(t, elsewhere),
		"cut":                          marshal(t, old)[:40],
		"no message":                   bytes.Repeat([]byte{0xff}, 20),
	} {
		if new(Reassigner).Compare(was, marshal(t, old), after) != nil {
			t.Errorf("%s: not declined", name)
		}
	}
	if new(Reassigner).Compare(&model.LoadAssignment{}, marshal(t, old), marshal(t, old)) != nil {
		t.Error("what was translated from another message: not declined")
	}
}

// FuzzReassign gives arbitrary bytes: what comes out is what translating the whole gives, or nothing.
func FuzzReassign(f *testing.F) {
	f.Add(marshal(f, assignmentOf([]uint32{1, 2}, []uint32{3})), marshal(f, assignmentOf([]uint32{1, 4}, []uint32{3})))
	f.Add(marshal(f, assignmentOf([]uint32{1})), marshal(f, assignmentOf([]uint32{})))
	tr := testTranslator(f)
	f.Fuzz(func(t *testing.T, before, after []byte) {
		old, next := &endpointv3.ClusterLoadAssignment{}, &endpointv3.ClusterLoadAssignment{}
		if proto.Unmarshal(before, old) != nil {
			return
		}
		was, _, err := tr.LoadAssignment(old, Meta{})
		if err != nil {
			return
		}
		got := reassigned(t, tr, was, before, after)
		if got == nil {
			return
		}
		if err := proto.Unmarshal(after, next); err != nil {
			t.Fatalf("taken, though it cannot be decoded: %v", err)
		}
		want, _, err := tr.LoadAssignment(next, Meta{})
		if err != nil {
			t.Fatalf("taken, though it is bad: %v", err)
		}
		if a, b := fmt.Sprint(portsOf(want)), fmt.Sprint(portsOf(got)); a != b {
			t.Errorf("endpoints %s, want %s", b, a)
		}
	})
}

func TestPermuted(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		want                bool
	}{
		{"the same", "abc", "abc", false},
		{"another order", "abcabd", "abdabc", true},
		{"another byte", "10.0.0.1", "10.0.0.2", false},
		{"another length", "abc", "abcd", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Reassignment{Before: []byte(c.before), After: []byte(c.after)}
			if got := r.Permuted(); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// TestReassignerAllocates nothing once it has its memory.
func TestReassignerAllocates(t *testing.T) {
	old, next := assignmentOf([]uint32{1, 2, 3}, []uint32{4, 5}), assignmentOf([]uint32{1, 9, 3}, []uint32{4, 5})
	before, after := marshal(t, old), marshal(t, next)
	was, _, err := testTranslator(t).LoadAssignment(old, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	r := &Reassigner{}
	if n := testing.AllocsPerRun(100, func() {
		if r.Compare(was, before, after) == nil {
			t.Error("looked at as a whole")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func portsOf(a *model.LoadAssignment) (out [][]string) {
	for _, l := range a.Localities {
		var list []string
		for _, e := range l.Endpoints {
			list = append(list, fmt.Sprint(e.Address, e.Pipe, e.Weight, e.Health))
		}
		out = append(out, list)
	}
	return out
}
