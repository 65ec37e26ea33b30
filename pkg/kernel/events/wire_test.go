package events

import (
	"reflect"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
)

// TestEventMatchesTheObjects compares every member of wireEvent with the BTF of each object that tells of decisions. The numbers of kinds
// and verdicts are in no BTF, since no member has the type of their enum.
func TestEventMatchesTheObjects(t *testing.T) {
	for _, object := range []string{"../intercept/weir_bpfel.o", "../datagram/udp_bpfel.o", "../inbound/inbound_bpfel.o"} {
		t.Run(object, func(t *testing.T) {
			spec, err := ebpf.LoadCollectionSpec(object)
			if err != nil {
				t.Fatal(err)
			}
			if ring := spec.Maps[MapName]; ring == nil || ring.Type != ebpf.RingBuf || ring.MaxEntries != size {
				t.Errorf("the ring is %+v", ring)
			}
			kerneltest.Structs(t, spec, map[string]reflect.Type{"weir_event": reflect.TypeFor[wireEvent]()})
		})
	}
}
