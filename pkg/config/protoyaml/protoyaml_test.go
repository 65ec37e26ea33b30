package protoyaml_test

import (
	"strings"
	"testing"

	udpatypev1 "github.com/cncf/xds/go/udpa/type/v1"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

const (
	routerURL = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
	hcmURL    = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func object(t *testing.T, fields map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listenerWith returns a valid listener with one network filter.
func listenerWith(config *anypb.Any) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:    "one",
		Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/p"}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "f", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
		}}}},
	}
}

func hcmWith(filters ...*hcmv3.HttpFilter) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix:     "x",
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}, RouteConfigName: "r"}},
		HttpFilters:    filters,
	}
}

func httpFilter(config *anypb.Any, optional bool) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: "h", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: config}, IsOptional: optional}
}

// withUnknown adds field 1000 with the value 1 to m.
func withUnknown[M proto.Message](m M) M {
	m.ProtoReflect().SetUnknown([]byte{0xc0, 0x3e, 0x01})
	return m
}

func TestValidateMessage(t *testing.T) {
	const config = "filter_chains[0].filters[0].typed_config"
	tests := []struct {
		name           string
		m              proto.Message
		strict         string
		lenient, warns string
	}{
		{name: "valid", m: listenerWith(pack(t, hcmWith(httpFilter(pack(t, &routerv3.Router{}), false))))},
		{
			name:    "rule inside two Anys",
			m:       listenerWith(pack(t, hcmWith(httpFilter(pack(t, hcmWith(&hcmv3.HttpFilter{})), false)))),
			strict:  config + ".http_filters[0].typed_config.http_filters[0].name: value length must be at least 1 runes",
			lenient: config + ".http_filters[0].typed_config.http_filters[0].name: value length must be at least 1 runes",
		},
		{
			name:   "unknown field inside an Any",
			m:      listenerWith(pack(t, hcmWith(httpFilter(pack(t, withUnknown(&routerv3.Router{})), false)))),
			strict: config + ".http_filters[0].typed_config: unknown field number 1000 in envoy.extensions.filters.http.router.v3.Router",
			warns:  config + ".http_filters[0].typed_config: unknown field number 1000 in envoy.extensions.filters.http.router.v3.Router",
		},
		{
			name:    "unknown type",
			m:       listenerWith(&anypb.Any{TypeUrl: routerURL + "s"}),
			strict:  config + `: unknown type URL "` + routerURL + `s" (did you mean ` + routerURL + "?)",
			lenient: config + `: unknown type URL "` + routerURL + `s" (did you mean ` + routerURL + "?)",
		},
		{
			name:  "unknown type of an optional filter",
			m:     listenerWith(pack(t, hcmWith(httpFilter(&anypb.Any{TypeUrl: "type.googleapis.com/no.such"}, true)))),
			warns: config + `.http_filters[0].typed_config: unknown type URL "type.googleapis.com/no.such"`,
		},
		{
			name:    "bytes that are no message",
			m:       listenerWith(&anypb.Any{TypeUrl: routerURL, Value: []byte{0xff}}),
			strict:  config + ": unmarshal " + routerURL + ": ",
			lenient: config + ": unmarshal " + routerURL + ": ",
		},
		{
			name: "typed struct",
			m: listenerWith(pack(t, &udpatypev1.TypedStruct{TypeUrl: hcmURL, Value: object(t, map[string]any{
				"stat_prefx": "x", "rds": map[string]any{"config_source": map[string]any{"ads": map[string]any{}}, "route_config_name": 1},
			})})),
			strict: config + `.value.rds.route_config_name: expected a string, got the number 1 (quote it: "1")` + "\n" +
				config + `.value.stat_prefx: unknown field "stat_prefx" in envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager (did you mean "stat_prefix"?)`,
			lenient: config + `.value.rds.route_config_name: expected a string, got the number 1 (quote it: "1")` + "\n" +
				config + ".value.stat_prefix: value length must be at least 1 runes",
			warns: config + `.value.stat_prefx: unknown field "stat_prefx" in envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager (did you mean "stat_prefix"?)`,
		},
		{
			name: "map of Anys",
			m: &clusterv3.Cluster{Name: "c", TypedExtensionProtocolOptions: map[string]*anypb.Any{
				"b": {TypeUrl: "type.googleapis.com/b"}, "a": {TypeUrl: "type.googleapis.com/a"},
			}},
			strict: `typed_extension_protocol_options["a"]: unknown type URL "type.googleapis.com/a"` + "\n" +
				`typed_extension_protocol_options["b"]: unknown type URL "type.googleapis.com/b"`,
			lenient: `typed_extension_protocol_options["a"]: unknown type URL "type.googleapis.com/a"` + "\n" +
				`typed_extension_protocol_options["b"]: unknown type URL "type.googleapis.com/b"`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := protoyaml.ValidateMessage(tt.m, protoyaml.Options{})
			checkText(t, "strict", text(err), tt.strict)
			warnings, err := protoyaml.ValidateMessage(tt.m, protoyaml.Options{AllowUnknown: true})
			checkText(t, "lenient", text(err), tt.lenient)
			checkText(t, "warnings", protoyaml.Errors(warnings).Error(), tt.warns)
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// checkText compares texts; a want that ends in a space is a prefix, where the
// rest is another library's text.
func checkText(t *testing.T, what, got, want string) {
	t.Helper()
	if strings.HasSuffix(want, " ") && strings.HasPrefix(got, want) {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestUnwrapTypedStruct(t *testing.T) {
	router := &routerv3.Router{SuppressEnvoyHeaders: true, DynamicStats: wrapperspb.Bool(false)}
	value := object(t, map[string]any{"suppressEnvoyHeaders": true, "dynamic_stats": false})
	tests := []struct {
		name string
		in   *anypb.Any
		want proto.Message
		err  string
	}{
		{"plain message", pack(t, router), router, ""},
		{"udpa", pack(t, &udpatypev1.TypedStruct{TypeUrl: routerURL, Value: value}), router, ""},
		{"xds", pack(t, &xdstypev3.TypedStruct{TypeUrl: routerURL, Value: value}), router, ""},
		{"no value", pack(t, &xdstypev3.TypedStruct{TypeUrl: routerURL}), &routerv3.Router{}, ""},
		{"no type", &anypb.Any{}, nil, `"@type" is missing: it names the message`},
		{"unknown type", &anypb.Any{TypeUrl: "type.googleapis.com/no.such"}, nil, `unknown type URL "type.googleapis.com/no.such"`},
		{"unknown inner type", pack(t, &xdstypev3.TypedStruct{TypeUrl: "x/no.such"}), nil, `type_url: unknown type URL "x/no.such"`},
		{"no inner type", pack(t, &xdstypev3.TypedStruct{}), nil, "expected a type URL"},
		{"wrong field", pack(t, &xdstypev3.TypedStruct{TypeUrl: routerURL, Value: object(t, map[string]any{"x": 1})}), nil, `value.x: unknown field "x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := protoyaml.UnwrapTypedStruct(tt.in, protoyaml.Options{})
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error is %v, want %q", err, tt.err)
			}
			if err == nil && !proto.Equal(tt.want, got) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestResolver shows that types are looked up in the given resolver alone.
func TestResolver(t *testing.T) {
	opt := protoyaml.Options{Resolver: new(protoregistry.Types)}
	src := `{name: f, typed_config: {"@type": ` + routerURL + "}}"
	_, err := protoyaml.Decode([]byte(src), "", &listenerv3.Filter{}, opt)
	checkText(t, "error", text(err), `line 1:35: typed_config.@type: unknown type URL "`+routerURL+`"`)
}

// TestSkipValidation shows that rules are left out on request, and only they.
func TestSkipValidation(t *testing.T) {
	opt := protoyaml.Options{SkipValidation: true}
	_, err := protoyaml.Decode([]byte(`{connect_timeout: -1s}`), "", &clusterv3.Cluster{}, opt)
	checkText(t, "rules", text(err), "")
	_, err = protoyaml.Decode([]byte(`{nam: x}`), "", &clusterv3.Cluster{}, opt)
	checkText(t, "unknown", text(err), `line 1:2: nam: unknown field "nam" in envoy.config.cluster.v3.Cluster (did you mean "name"?)`)
}

func TestDecodeReplaces(t *testing.T) {
	c := &clusterv3.Cluster{AltStatName: "old"}
	if _, err := protoyaml.Decode([]byte("name: new"), "", c, protoyaml.Options{}); err != nil {
		t.Fatal(err)
	}
	if c.GetAltStatName() != "" || c.GetName() != "new" {
		t.Errorf("got %v", c)
	}
}

func TestMarshal(t *testing.T) {
	l := listenerWith(&anypb.Any{TypeUrl: "type.googleapis.com/no.such", Value: []byte{0xc0, 0x3e, 0x01}})
	for indent, want := range map[string]string{
		"":  `{"name":"one","address":{"pipe":{"path":"/p"}},"filter_chains":[{"filters":[{"name":"f","typed_config":{"@type":"type.googleapis.com/no.such"}}]}]}`,
		" ": "{\n \"name\": \"one\",\n \"address\": {\n  \"pipe\": {\n   \"path\": \"/p\"\n  }\n },\n \"filter_chains\": [\n  {\n   \"filters\": [\n    {\n     \"name\": \"f\",\n     \"typed_config\": {\n      \"@type\": \"type.googleapis.com/no.such\"\n     }\n    }\n   ]\n  }\n ]\n}",
	} {
		got, err := protoyaml.Marshal(l, indent)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("indent %q (-want +got):\n%s", indent, diff)
		}
	}
	if _, err := protoyaml.Marshal(listenerWith(&anypb.Any{TypeUrl: routerURL, Value: []byte{0xff}}), ""); err == nil {
		t.Error("no error for an Any with broken content")
	}
}
