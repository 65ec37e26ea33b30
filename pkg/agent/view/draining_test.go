package view

import (
	"slices"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/store"
)

func TestDrainingListeners(t *testing.T) {
	version := func(name, v string, after time.Duration) *model.Listener {
		raw, err := anypb.New(&listenerv3.Listener{Name: name, StatPrefix: v})
		if err != nil {
			t.Fatal(err)
		}
		return &model.Listener{Resource: model.Resource{Name: name, Version: v, Dynamic: true, UpdatedAt: epoch().Add(after)}, Message: raw}
	}
	v := Config{Draining: func() []*model.Listener {
		return []*model.Listener{
			version("gone", "g", 0), version("kept", "2", 2), version("kept", "1", 1), version("hidden", "h", 0),
			{Resource: model.Resource{Name: "static"}},
		}
	}}
	active := version("kept", "3", 3)
	raw, ok := active.Message.(*anypb.Any)
	if !ok {
		t.Fatal("no message")
	}
	d := &store.Dump{Listeners: []store.Slot[*model.Listener]{{Name: "kept", Active: &store.Entry[*model.Listener]{Value: active, Raw: raw, Version: "3"}}}}
	var got []string
	for m := range v.dynamicListeners(d, func(name string) bool { return name != "hidden" }) {
		l, ok := m.(*adminv3.ListenersConfigDump_DynamicListener)
		if !ok || l.GetDrainingState().GetListener() == nil {
			t.Fatalf("%v", m)
		}
		got = append(got, l.GetName()+" "+l.GetActiveState().GetVersionInfo()+" "+l.GetDrainingState().GetVersionInfo())
	}
	if want := []string{"kept 3 2", "gone  g"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
