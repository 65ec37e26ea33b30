package earlymutation

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"strings"
	"testing"

	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func remove(name string) *rulesv3.HeaderMutation {
	return &rulesv3.HeaderMutation{Action: &rulesv3.HeaderMutation_Remove{Remove: name}}
}

func add(name, value string, action corev3.HeaderValueOption_HeaderAppendAction) *rulesv3.HeaderMutation {
	return &rulesv3.HeaderMutation{Action: &rulesv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: action,
	}}}
}

func TestMutate(t *testing.T) {
	old := add("x-a", "old", 0)
	old.GetAppend().Append = wrapperspb.Bool(false)
	for _, tc := range []struct {
		name string
		list []*rulesv3.HeaderMutation
		want string
	}{
		{"remove", []*rulesv3.HeaderMutation{remove("X-A")}, "x-b=2"},
		{"append", []*rulesv3.HeaderMutation{add("x-a", "3", 0)}, "x-a=1 x-b=2 x-a=3"},
		{"overwrite with another", []*rulesv3.HeaderMutation{add("x-a", "%REQ(x-b)%", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)}, "x-a=2 x-b=2"},
		{"if absent", []*rulesv3.HeaderMutation{add("x-a", "3", corev3.HeaderValueOption_ADD_IF_ABSENT), add("x-c", "3", corev3.HeaderValueOption_ADD_IF_ABSENT)}, "x-a=1 x-b=2 x-c=3"},
		{"if there", []*rulesv3.HeaderMutation{add("x-a", "3", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS), add("x-c", "3", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS)}, "x-a=3 x-b=2"},
		{"empty", []*rulesv3.HeaderMutation{add("x-c", "", 0)}, "x-a=1 x-b=2"},
		{"in order", []*rulesv3.HeaderMutation{add("x-c", "%REQ(x-a)%", 0), remove("x-a"), add("x-d", "%REQ(x-a)%.", 0)}, "x-b=2 x-c=1 x-d=."},
		{"the older way", []*rulesv3.HeaderMutation{old}, "x-a=old x-b=2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := Factory().Decode(&mutationv3.HeaderMutation{Mutations: tc.list})
			if err != nil {
				t.Fatal(err)
			}
			s := &filter.Stream{Request: &message.Request{}}
			s.Format.Request = s.Request
			s.Request.Headers.Add("x-a", "1")
			s.Request.Headers.Add("x-b", "2")
			v.(filter.EarlyMutation).Mutate(s)
			var got []string
			for f := range s.Request.Headers.All() {
				got = append(got, f.Name+"="+f.Value)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestBadConfiguration(t *testing.T) {
	both := add("x-a", "1", corev3.HeaderValueOption_ADD_IF_ABSENT)
	both.GetAppend().Append = wrapperspb.Bool(true)
	_, err := Factory().Decode(&mutationv3.HeaderMutation{Mutations: []*rulesv3.HeaderMutation{
		remove("x-a"), remove(":path"), add("Host", "x", 0), add("x-a", "%NOTHING%", 0), both, {},
	}})
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, want := range []string{"mutations[1]: ", "mutations[2]: ", "mutations[3]: ", "mutations[4]: both append", "mutations[5]: action: must be set"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}
