package store_test

import (
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// noSources deliver nothing by themselves.
type noSources struct{}

func (noSources) Subscribe(*model.Source, string, string)   {}
func (noSources) Unsubscribe(*model.Source, string, string) {}
func (noSources) SubscribeAll(*model.Source, string)        {}
func (noSources) UnsubscribeAll(*model.Source, string)      {}

// types are all that the store takes, in the order in which a control plane sends them.
func types() []string {
	return []string{
		xds.ClusterType, xds.EndpointType, xds.LbEndpointType, xds.SecretType, xds.ListenerType, xds.FilterType,
		xds.ScopedRouteType, xds.RouteType, xds.VirtualHostType,
	}
}

// everything are the resources of testdata/everything.yaml by type.
func everything(t testing.TB) map[string][]xds.Resource {
	t.Helper()
	src, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := protoyaml.DecodeResources(src, "everything.yaml", protoyaml.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]xds.Resource{}
	for _, r := range list {
		body, err := anypb.New(r.Message)
		if err != nil {
			t.Fatal(err)
		}
		out[body.GetTypeUrl()] = append(out[body.GetTypeUrl()], xds.Resource{
			Name: r.Wrapper.GetName(), Aliases: r.Wrapper.GetAliases(), Version: "1", Body: body,
		})
	}
	for _, typeURL := range types() {
		if len(out[typeURL]) == 0 {
			t.Fatalf("no %s", typeURL)
		}
	}
	return out
}

// newStore is a store that follows everything.
func newStore(t testing.TB, tr *translate.Translator) *store.Store {
	t.Helper()
	s := store.New(store.Options{
		Translate: tr, Sources: noSources{}, Stats: stats.NewStore().Root(), Log: slog.New(slog.DiscardHandler), Publish: func(*model.Snapshot) {},
	})
	s.Load(&translate.Static{}, &bootstrapv3.Bootstrap{})
	for _, typeURL := range []string{xds.ClusterType, xds.ListenerType} {
		s.Follow(&model.Source{Kind: model.SourceADS}, typeURL)
	}
	return s
}

// deliver sends all of a set, which must be accepted and in force afterwards.
func deliver(t *testing.T, s *store.Store, set map[string][]xds.Resource) {
	t.Helper()
	for _, typeURL := range types() {
		full := typeURL != xds.VirtualHostType && typeURL != xds.LbEndpointType
		if err := s.Update(t.Context(), xds.Update{Type: typeURL, Version: "1", Full: full, Resources: set[typeURL]}); err != nil {
			t.Fatalf("%s: %v", typeURL, err)
		}
	}
	now := s.Snapshot()
	if names := now.Clusters.Names(); !slices.Equal(names, []string{"plain", "web"}) {
		t.Fatalf("clusters %v", names)
	}
	if len(now.Listeners.Names()) != 1 {
		t.Fatalf("listeners %v", now.Listeners.Names())
	}
}

// FuzzUpdate has a control plane send arbitrary resources of each type in between good ones: the store answers, and what is good
// is in force as before once it is sent again.
func FuzzUpdate(f *testing.F) {
	good := everything(f)
	for kind, typeURL := range types() {
		for _, r := range good[typeURL] {
			f.Add(byte(kind), true, r.Name, r.Body.GetValue(), []byte{}, "")
			f.Add(byte(kind), false, r.Name, r.Body.GetValue(), r.Body.GetValue()[:len(r.Body.GetValue())/2], "routes/one web")
		}
	}
	c, err := agent.NewChecker(&options.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind byte, full bool, name string, first, second []byte, removed string) {
		s := newStore(t, c.Translator)
		deliver(t, s, good)
		typeURL := types()[int(kind)%len(types())]
		u := xds.Update{Type: typeURL, Version: "2", Full: full, Removed: strings.Fields(removed)}
		for i, body := range [][]byte{first, second} {
			if len(body) > 0 || i == 0 {
				u.Resources = append(u.Resources, xds.Resource{Name: name, Version: "2", Body: &anypb.Any{TypeUrl: typeURL, Value: body}})
			}
		}
		if err := s.Update(t.Context(), u); err != nil && err.Error() == "" {
			t.Error("refused without a reason")
		}
		if s.Snapshot() == nil {
			t.Error("nothing is in force")
		}
		if typeURL != xds.VirtualHostType && typeURL != xds.LbEndpointType {
			deliver(t, s, good)
		}
	})
}
