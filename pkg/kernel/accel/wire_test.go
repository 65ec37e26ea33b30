package accel

import (
	"reflect"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
)

// TestStructsMatchTheObject compares every member of the structs in wire.go, and of slot, with the BTF of the embedded object.
func TestStructsMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	noError(t, err)
	kerneltest.Structs(t, spec, map[string]reflect.Type{
		"accel_endpoint": reflect.TypeFor[wireEndpoint](), "accel_pair": reflect.TypeFor[wirePair](),
		"accel_peer": reflect.TypeFor[wirePeer](), "accel_slot": reflect.TypeFor[slot](),
	})
}

func TestCountersMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	noError(t, err)
	inC := kerneltest.Enum(t, spec, "accel_counter")
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
