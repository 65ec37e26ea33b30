package inbound

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
		"inbound_place": reflect.TypeFor[wirePlace](), "inbound_count": reflect.TypeFor[wireCount](),
		"inbound_half": reflect.TypeFor[wireHalf](), "inbound_socket": reflect.TypeFor[wireSocket](),
		"inbound_prefix": reflect.TypeFor[wirePrefix](), "inbound_pair": reflect.TypeFor[wirePair](),
		"inbound_sink": reflect.TypeFor[wireSink](), "inbound_edit": reflect.TypeFor[wireEdit](),
		"inbound_rule": reflect.TypeFor[wireRule](), "inbound_peer": reflect.TypeFor[wirePeer](),
		"inbound_explain": reflect.TypeFor[wireExplain](),
		"inbound_control": reflect.TypeFor[wireControl](),
	})
}

func TestConstantsMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	reasons := kerneltest.Enum(t, spec, "inbound_reason")
	if len(reasons) != int(reasonCount)+1 || reasons["INBOUND_COUNT"] != uint64(reasonCount) {
		t.Errorf("%d reasons in C, %d in Go", reasons["INBOUND_COUNT"], reasonCount)
	}
	for reason := range reasonCount {
		if value, found := reasons["INBOUND_"+strings.ToUpper(reason.String())]; !found || value != uint64(reason) {
			t.Errorf("%s is %d (%t) in C, %d in Go", reason, value, found, reason)
		}
		if reason.Text() == reason.String() {
			t.Errorf("%s has no text", reason)
		}
	}
}
