package extension

import (
	"errors"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func decode(m proto.Message) (any, error) { return m, nil }

func TestNewRegistryRejects(t *testing.T) {
	good := Factory{Category: HTTPFilters, Name: "a", Aliases: []string{"old.a"}, Config: &emptypb.Empty{}, Decode: decode}
	for name, tc := range map[string]struct {
		second Factory
		want   string
	}{
		"same type":        {Factory{Category: HTTPFilters, Name: "b", Config: &emptypb.Empty{}}, "type URL type.googleapis.com/google.protobuf.Empty is taken by a"},
		"same name":        {Factory{Category: HTTPFilters, Name: "a", Config: &structpb.Struct{}}, "name a is taken"},
		"alias is a name":  {Factory{Category: HTTPFilters, Name: "old.a", Config: &structpb.Struct{}}, "name old.a is taken"},
		"no config":        {Factory{Category: HTTPFilters, Name: "b"}, "prototype must be set"},
		"no name":          {Factory{Category: HTTPFilters, Config: &structpb.Struct{}}, "category and name"},
		"half a per-route": {Factory{Category: HTTPFilters, Name: "b", Config: &structpb.Struct{}, PerRoute: &emptypb.Empty{}}, "set together"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewRegistry(good, tc.second)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("NewRegistry: %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := NewRegistry(good, Factory{Category: NetworkFilters, Name: "a", Config: &emptypb.Empty{}}); err != nil {
		t.Fatalf("the same name and type in another category: %v", err)
	}
}

func TestLookup(t *testing.T) {
	base, err := NewRegistry(Factory{
		Category: HTTPFilters, Name: "envoy.filters.http.router", Aliases: []string{"envoy.router"},
		Config: &emptypb.Empty{}, Decode: decode, PerRoute: &durationpb.Duration{}, DecodePerRoute: decode,
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := base.With(Factory{Category: NetworkFilters, Name: "tcp", Config: &structpb.Struct{}})
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "type.googleapis.com/"
	for name, tc := range map[string]struct {
		category, typeURL, name string
		want, err               string
	}{
		"by type":            {HTTPFilters, prefix + "google.protobuf.Empty", "any", "envoy.filters.http.router", ""},
		"by other prefix":    {HTTPFilters, "example.org/google.protobuf.Empty", "", "envoy.filters.http.router", ""},
		"by alias":           {HTTPFilters, "", "envoy.router", "envoy.filters.http.router", ""},
		"by name":            {NetworkFilters, "", "tcp", "tcp", ""},
		"misspelled alias":   {HTTPFilters, "", "envoy.ruoter", "", "did you mean envoy.router?"},
		"misspelled type":    {HTTPFilters, prefix + "google.protobuf.Emty", "", "", "did you mean type.googleapis.com/google.protobuf.Empty?"},
		"known to Envoy":     {HTTPFilters, TypeURL(&corev3.Pipe{}), "", "", "known to Envoy but not supported by weir"},
		"another's type":     {HTTPFilters, TypeURL(&wrapperspb.StringValue{}), "", "", "unknown extension type type.googleapis.com/google.protobuf.StringValue for envoy.filters.http"},
		"wrong category":     {ListenerFilters, "", "envoy.router", "", `unknown extension name "envoy.router" (no typed_config) for envoy.filters.listener`},
		"very long name":     {HTTPFilters, "", strings.Repeat("x", 1<<16), "", "unknown extension name"},
		"nothing to look up": {HTTPFilters, "", "", "", "unknown extension name"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := r.Lookup(tc.category, tc.typeURL, tc.name)
			if tc.err != "" {
				var unknown *UnknownError
				if !errors.As(err, &unknown) || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("Lookup: %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || f.Name != tc.want {
				t.Fatalf("Lookup = %v, %v, want %s", f, err, tc.want)
			}
		})
	}
	if f, err := r.LookupPerRoute(HTTPFilters, prefix+"google.protobuf.Duration"); err != nil || f.Name != "envoy.filters.http.router" {
		t.Errorf("LookupPerRoute = %v, %v", f, err)
	}
	if diff := cmp.Diff([]string{HTTPFilters, NetworkFilters}, r.Categories()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"envoy.filters.http.router"}, r.Names(HTTPFilters)); diff != "" {
		t.Error(diff)
	}
}

func TestSeveralCategories(t *testing.T) {
	r, err := NewRegistry(Factory{Category: HTTPFilters, AlsoIn: []string{UpstreamHTTPFilters}, Name: "both", Config: &emptypb.Empty{}, Decode: decode})
	if err != nil {
		t.Fatal(err)
	}
	if r, err = r.With(Factory{Category: NetworkFilters, Name: "tcp", Config: &structpb.Struct{}}); err != nil {
		t.Fatalf("extend the registry: %v", err)
	}
	for _, category := range []string{HTTPFilters, UpstreamHTTPFilters} {
		if f, err := r.Lookup(category, "", "both"); err != nil || f.Category != category {
			t.Errorf("%s: %+v, %v", category, f, err)
		}
		if diff := cmp.Diff([]string{"both"}, r.Names(category)); diff != "" {
			t.Errorf("%s: %s", category, diff)
		}
	}
	if _, err := r.Lookup(NetworkFilters, "", "both"); err == nil {
		t.Error("the extension is in a category that it does not name")
	}
}

func TestWithout(t *testing.T) {
	all, err := NewRegistry(
		Factory{Category: HTTPFilters, AlsoIn: []string{UpstreamHTTPFilters}, Name: "buffer", Aliases: []string{"old"}, Config: &emptypb.Empty{}},
		Factory{Category: NetworkFilters, Name: "tcp", Config: &structpb.Struct{}},
	)
	if err != nil {
		t.Fatal(err)
	}
	r, unknown, err := all.Without([]string{HTTPFilters + "/buffer", "tcp", "tpc", NetworkFilters + "/buffer"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"tpc", NetworkFilters + "/buffer"}, unknown); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		category, typeURL, name string
		disabled                bool
	}{
		{HTTPFilters, TypeURL(&emptypb.Empty{}), "", true},
		{HTTPFilters, "", "old", true},
		{UpstreamHTTPFilters, TypeURL(&emptypb.Empty{}), "", false},
		{NetworkFilters, "", "tcp", true},
	} {
		_, err := r.Lookup(c.category, c.typeURL, c.name)
		if u := (*UnknownError)(nil); (errors.As(err, &u) && u.Disabled) != c.disabled {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
