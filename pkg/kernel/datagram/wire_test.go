package datagram

import (
	"reflect"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
)

// TestStructsMatchTheObject compares every member of the structs in wire.go with the BTF of the embedded object.
func TestStructsMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	kerneltest.Structs(t, spec, map[string]reflect.Type{
		"weir_udp_control": reflect.TypeFor[wireControl](), "weir_udp_prefix": reflect.TypeFor[wirePrefix](),
		"weir_udp_ports": reflect.TypeFor[wirePorts](), "weir_udp_rule": reflect.TypeFor[wireRule](), "weir_udp_query": reflect.TypeFor[wireQuery](),
		"weir_udp_verdict": reflect.TypeFor[wireVerdict](), "weir_udp_dest": reflect.TypeFor[wireDest](),
		"weir_udp_explain": reflect.TypeFor[wireExplain](), "weir_udp_find": reflect.TypeFor[wireFind](),
	})
}

func TestReasonsMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	reasons := kerneltest.Enum(t, spec, "weir_udp_reason")
	if len(reasons) != int(reasonCount)+1 {
		t.Errorf("%d reasons in C, %d in Go", len(reasons)-1, reasonCount)
	}
	for reason := range reasonCount {
		if value, found := reasons["UDP_"+strings.ToUpper(reason.String())]; !found || value != uint64(reason) {
			t.Errorf("%s is %d (%t) in C, %d in Go", reason, value, found, reason)
		}
	}
}
