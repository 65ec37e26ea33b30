package intercept

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
		"weir_prefix": reflect.TypeFor[wirePrefix](), "weir_rule": reflect.TypeFor[wireRule](),
		"weir_endpoint": reflect.TypeFor[wireEndpoint](), "weir_control": reflect.TypeFor[wireControl](),
		"weir_sockets": reflect.TypeFor[wireSockets](), "weir_stranger": reflect.TypeFor[wireStranger](),
		"weir_query": reflect.TypeFor[wireQuery](), "weir_verdict": reflect.TypeFor[wireVerdict](),
		"weir_flow": reflect.TypeFor[wireFlow](), "weir_pair": reflect.TypeFor[wirePair](),
		"weir_explain": reflect.TypeFor[wireExplain](),
		"weir_block":   reflect.TypeFor[wireBlock](), "weir_service": reflect.TypeFor[wireService](),
		"weir_table": reflect.TypeFor[wireTable](), "weir_slots": reflect.TypeFor[wireSlots](),
		"weir_upstream": reflect.TypeFor[wireUpstream](), "weir_offload": reflect.TypeFor[wireOffload](),
	})
}

func TestReasonsMatchTheObject(t *testing.T) {
	values := enum(t, "weir_reason")
	if len(values) != int(reasonCount)+1 || values["REASON_COUNT"] != uint64(reasonCount) {
		t.Errorf("%d reasons in C, %d in Go", values["REASON_COUNT"], reasonCount)
	}
	for reason := range reasonCount {
		name := "REASON_" + strings.ToUpper(reason.String())
		if value, found := values[name]; !found || value != uint64(reason) {
			t.Errorf("%s is %d (%t) in C, %d in Go", name, value, found, reason)
		}
		if reason.Text() == reason.String() {
			t.Errorf("%s has no text", reason)
		}
	}
}

func TestActionsMatchTheObject(t *testing.T) {
	want := map[string]uint64{
		"ACTION_PASS": uint64(ActionPass), "ACTION_REDIRECT": uint64(ActionRedirect), "ACTION_REFUSE": uint64(ActionRefuse),
		"ACTION_OFFLOAD": uint64(ActionOffload),
	}
	if got := enum(t, "weir_action"); !reflect.DeepEqual(got, want) {
		t.Errorf("actions in C %v, in Go %v", got, want)
	}
}

func enum(t *testing.T, name string) map[string]uint64 {
	t.Helper()
	spec, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	return kerneltest.Enum(t, spec, name)
}
