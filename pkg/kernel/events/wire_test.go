package events

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// TestEventMatchesTheObjects compares every member of wireEvent with the BTF of each object that tells of decisions, and the numbers of
// kinds and verdicts with the enums.
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
			var c *btf.Struct
			if err := spec.Types.TypeByName("weir_event", &c); err != nil {
				t.Fatal(err)
			}
			compare(t, c, reflect.TypeFor[wireEvent]())
		})
	}
}

func compare(t *testing.T, c *btf.Struct, goType reflect.Type) {
	t.Helper()
	if uintptr(c.Size) != goType.Size() || len(c.Members) != goType.NumField() {
		t.Fatalf("%d bytes and %d members in C, %d and %d in Go", c.Size, len(c.Members), goType.Size(), goType.NumField())
	}
	for n, member := range c.Members {
		field := goType.Field(n)
		size, err := btf.Sizeof(member.Type)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ReplaceAll(member.Name, "_", "") != strings.ToLower(field.Name) || uintptr(member.Offset.Bytes()) != field.Offset || uintptr(size) != field.Type.Size() {
			t.Errorf("member %d: %s at %d of %d bytes in C, %s at %d of %d in Go",
				n, member.Name, member.Offset.Bytes(), size, field.Name, field.Offset, field.Type.Size())
		}
	}
}
