package accel

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestStructsMatchTheObject compares every member of the structs in wire.go, and of slot, with the BTF of the embedded object.
func TestStructsMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	noError(t, err)
	for name, goType := range map[string]reflect.Type{
		"accel_endpoint": reflect.TypeFor[wireEndpoint](), "accel_pair": reflect.TypeFor[wirePair](),
		"accel_peer": reflect.TypeFor[wirePeer](), "accel_slot": reflect.TypeFor[slot](),
	} {
		t.Run(name, func(t *testing.T) {
			var c *btf.Struct
			noError(t, spec.Types.TypeByName(name, &c))
			if uintptr(c.Size) != goType.Size() || len(c.Members) != goType.NumField() {
				t.Fatalf("%d bytes and %d members in C, %d and %d in Go", c.Size, len(c.Members), goType.Size(), goType.NumField())
			}
			for n, member := range c.Members {
				field := goType.Field(n)
				size, err := btf.Sizeof(member.Type)
				noError(t, err)
				if field.Name != "_" && strings.ReplaceAll(member.Name, "_", "") != strings.ToLower(field.Name) ||
					uintptr(member.Offset.Bytes()) != field.Offset || uintptr(size) != field.Type.Size() {
					t.Errorf("member %d: %s at %d of %d bytes in C, %s at %d of %d in Go", n,
						member.Name, member.Offset.Bytes(), size, field.Name, field.Offset, field.Type.Size())
				}
			}
		})
	}
}

func TestCountersMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	noError(t, err)
	var e *btf.Enum
	noError(t, spec.Types.TypeByName("accel_counter", &e))
	inC := make(map[string]uint64)
	for _, v := range e.Values {
		inC[v.Name] = v.Value
	}
	for name, n := range map[string]uint64{
		"REDIRECTED_MESSAGES": counterMessages, "REDIRECTED_BYTES": counterBytes, "OVER_LIMIT": counterOverLimit,
		"BEHIND_TCP": counterBehindTCP, "SOCKETS": counterSockets, "NO_ROOM": counterNoRoom, "EARLY_DATA": counterEarlyData,
		"MULTIPATH": counterMultipath, "ZEROCOPY": counterZerocopy, "COUNTERS": counters,
	} {
		if value, found := inC["ACCEL_"+name]; !found || value != n {
			t.Errorf("ACCEL_%s is %d (%t) in C, %d in Go", name, value, found, n)
		}
		delete(inC, "ACCEL_"+name)
	}
	if len(inC) > 0 {
		t.Errorf("Go does not know %v", inC)
	}
}
