package interceptionv1

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// TestNames pins what configurations contain: the type URL and the JSON names.
func TestNames(t *testing.T) {
	message := &Interception{
		Cgroups:    []string{"system.slice/*.service"},
		Include:    []*Range{{Prefix: "10.0.0.0/8", Ports: []uint32{80}}},
		Exclude:    []*Range{{Ports: []uint32{22}}},
		FailPolicy: Interception_CLOSED,
		Disabled:   true,
	}
	packed, err := anypb.New(message)
	if err != nil {
		t.Fatal(err)
	}
	if want := "type.googleapis.com/weir.interception.v1.Interception"; packed.TypeUrl != want {
		t.Errorf("type URL %s, want %s", packed.TypeUrl, want)
	}
	const text = `{"cgroups": ["system.slice/*.service"], "include": [{"prefix": "10.0.0.0/8", "ports": [80]}],
		"exclude": [{"ports": [22]}], "fail_policy": "CLOSED", "disabled": true}`
	var parsed Interception
	if err := protojson.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(&parsed, message) {
		t.Errorf("parsed %v, want %v", &parsed, message)
	}
}
