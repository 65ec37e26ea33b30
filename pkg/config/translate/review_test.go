package translate

import (
	"slices"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// TestReview checks that what an extension tells of its configuration is a warning at its field, and an error where that
// is asked for.
func TestReview(t *testing.T) {
	registry, err := extension.NewRegistry(extension.Factory{
		Category: extension.ListenerFilters, Name: "reviewed", Config: &wrapperspb.StringValue{},
		Decode: func(m proto.Message) (any, error) { return m, nil },
		Review: func(proto.Message) []extension.Finding {
			return []extension.Finding{{Path: "value", Reason: "is not used"}, {Reason: "is not done", Unsupported: true}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const listener = `{"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 1}}, "filter_chains": [{}], "listener_filters": [{"name": "x", "typed_config": ` + anyText + `}]}`
	for _, reject := range []bool{false, true} {
		tr, err := New(Options{Registry: registry, RejectUnsupported: reject})
		if err != nil {
			t.Fatal(err)
		}
		_, warnings, err := tr.Listener(parse(t, listener, &listenerv3.Listener{}), Meta{Dynamic: true})
		notice := Warning{Resource: `listener "l"`, Path: "listener_filters[0].typed_config.value", Reason: "is not used", Code: CodeNotice}
		lack := Warning{Resource: `listener "l"`, Path: "listener_filters[0].typed_config", Reason: "is not done", Code: CodeUnsupported}
		if !slices.Contains(warnings, notice) {
			t.Errorf("warnings %q", warnings)
		}
		if errs := FieldErrors(err); reject != (len(errs) == 1 && errs[0].Error() == lack.String()) || reject == slices.Contains(warnings, lack) {
			t.Errorf("reject %v: warnings %q, error %v", reject, warnings, err)
		}
	}
}
