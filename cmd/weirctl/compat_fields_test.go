package main

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// TestExtensionsReadWhatTheyCallEffective changes each field that an extension calls effective, alone, and wants the outcome of
// its decoding to change: another configuration, or an error.
func TestExtensionsReadWhatTheyCallEffective(t *testing.T) {
	registry, err := agent.Registry()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, f := range registry.List() {
		tried += tryFields(t, f, f.Config, f.Decode)
		if f.PerRoute != nil {
			tried += tryFields(t, f, f.PerRoute, f.DecodePerRoute)
		}
	}
	if tried < 30 {
		t.Errorf("only %d fields were tried", tried)
	}
}

// readByTheChain names the fields that are read where the extension is built into something else.
func readByTheChain(name string) bool {
	switch name {
	case "envoy.extensions.filters.http.router.v3.Router.upstream_http_filters", "envoy.extensions.filters.http.router.v3.Router.upstream_log",
		"envoy.config.metrics.v3.MetricsServiceConfig.grpc_service", "envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig.grpc_service":
		return true // the translator decodes them
	}
	return false
}

func tryFields(t *testing.T, f *extension.Factory, prototype proto.Message, decode func(proto.Message) (any, error)) (tried int) {
	t.Helper()
	md := prototype.ProtoReflect().Descriptor()
	table := f.Support[string(md.FullName())]
	if decode == nil || table == nil {
		return 0
	}
	empty := decoding(decode, prototype.ProtoReflect().New())
	if diff := empty.differs(decoding(decode, prototype.ProtoReflect().New())); diff {
		t.Errorf("%s: decoding the same twice gives something else", f.Name)
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		field, listed := table[string(fd.Name())]
		if !listed || field.Harmless != "" || readByTheChain(string(fd.FullName())) {
			continue
		}
		tried++
		changed := false
		for _, v := range others(prototype.ProtoReflect().New(), fd) {
			m := prototype.ProtoReflect().New()
			m.Set(fd, v)
			changed = changed || decoding(decode, m).differs(empty)
		}
		for _, text := range complete()[string(md.FullName())] {
			m := prototype.ProtoReflect().New()
			if _, err := protoyaml.Decode([]byte(text), string(md.FullName()), m.Interface(), protoyaml.Options{}); err != nil {
				t.Fatal(err)
			}
			whole := decoding(decode, m)
			if whole.err != "" {
				t.Fatalf("%s: %s", md.FullName(), whole.err)
			}
			if m.Has(fd) {
				m.Clear(fd)
				changed = changed || decoding(decode, m).differs(whole)
			}
		}
		if !changed {
			t.Errorf("%s calls %s effective, but changing it changes nothing", f.Name, fd.FullName())
		}
	}
	return tried
}

// outcome is what decoding gives.
type outcome struct {
	value any
	err   string
}

func decoding(decode func(proto.Message) (any, error), m protoreflect.Message) outcome {
	v, err := decode(m.Interface())
	if err != nil {
		return outcome{err: err.Error()}
	}
	return outcome{value: v}
}

// differs compares all there is but functions.
func (o outcome) differs(other outcome) bool {
	functions := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().Type() != nil && p.Last().Type().Kind() == reflect.Func }, cmp.Comparer(func(a, b any) bool {
		return reflect.ValueOf(a).IsNil() == reflect.ValueOf(b).IsNil()
	}))
	return o.err != other.err || !cmp.Equal(o.value, other.value, functions, cmp.Exporter(func(reflect.Type) bool { return true }))
}

// complete are configurations of the messages that are refused unless several fields are set, so that what each field does is
// seen when it is left out.
func complete() map[string][]string {
	mutations := []string{`mutations: {request_mutations: [{remove: x}]}`}
	return map[string][]string{
		"envoy.extensions.access_loggers.file.v3.FileAccessLog": {
			`{path: /l, format: x}`, `{path: /l, json_format: {a: b}}`, `{path: /l, typed_json_format: {a: b}}`,
			`{path: /l, log_format: {text_format_source: {inline_string: x}}}`,
		},
		"envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig": {
			`{common_config: {log_name: log, transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: c}}}, additional_request_headers_to_log: [a], additional_response_headers_to_log: [a], additional_response_trailers_to_log: [a]}`,
		},
		"envoy.extensions.filters.http.header_mutation.v3.HeaderMutation":         mutations,
		"envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute": mutations,
		"envoy.extensions.filters.http.health_check.v3.HealthCheck": {
			`{pass_through_mode: true, cache_time: 1s}`, `{pass_through_mode: false, headers: [{name: a, present_match: true}], cluster_min_healthy_percentages: {c: {value: 5}}}`,
		},
		"envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit": {
			`{stat_prefix: x, max_connections: 5, delay: 1s, runtime_enabled: {default_value: false, runtime_key: k}}`,
		},
		"envoy.extensions.filters.network.rbac.v3.RBAC": {
			`{stat_prefix: x, rules: {policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}, enforcement_type: CONTINUOUS, delay_deny: 1s}`,
			`{stat_prefix: x, shadow_rules: {policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}, shadow_rules_stat_prefix: shadow}`,
			`{stat_prefix: x, matcher: {on_no_match: {action: {name: a, typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: a, action: ALLOW}}}}}`,
			`{stat_prefix: x, shadow_matcher: {on_no_match: {action: {name: a, typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: a, action: ALLOW}}}}}`,
		},
		"envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput":          {`{filter: f, path: [{key: k}]}`},
		"envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing": {`{threshold: 1, modulo: 3, seed: 5}`},
		"envoy.extensions.matching.input_matchers.metadata.v3.Metadata":                    {`{value: {string_match: {exact: a}}, invert: true}`},
		"envoy.config.metrics.v3.DogStatsdSink":                                            {`{address: {socket_address: {address: 127.0.0.1, port_value: 1}}, prefix: x}`},
		"envoy.config.metrics.v3.StatsdSink":                                               {`{address: {socket_address: {address: 127.0.0.1, port_value: 1}}, prefix: x}`},
		"envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink":                {`{address: {socket_address: {address: 127.0.0.1, port_value: 1}}, prefix: x}`},
		"envoy.config.metrics.v3.MetricsServiceConfig":                                     {`{grpc_service: {envoy_grpc: {cluster_name: c}}, transport_api_version: V3}`},
		"envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig":                         {`{grpc_service: {envoy_grpc: {cluster_name: c}}}`},
	}
}

// others are values of a field that differ from its absence.
func others(m protoreflect.Message, fd protoreflect.FieldDescriptor) []protoreflect.Value {
	switch {
	case fd.IsMap():
		v := m.NewField(fd)
		v.Map().Set(protoreflect.ValueOfString("k").MapKey(), v.Map().NewValue())
		return []protoreflect.Value{v}
	case fd.IsList():
		v := m.NewField(fd)
		if fd.Message() != nil {
			v.List().Append(v.List().NewElement())
		} else {
			v.List().Append(scalarOf(fd))
		}
		return []protoreflect.Value{v}
	case fd.Message() != nil:
		empty, full := m.NewField(fd), m.NewField(fd)
		for i := range fd.Message().Fields().Len() {
			if sub := fd.Message().Fields().Get(i); sub.Message() == nil && !sub.IsList() && sub.ContainingOneof() == nil {
				full.Message().Set(sub, scalarOf(sub))
			}
		}
		return []protoreflect.Value{empty, full}
	}
	return []protoreflect.Value{scalarOf(fd)}
}

func scalarOf(fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(fd.Enum().Values().Get(min(1, fd.Enum().Values().Len()-1)).Number())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x-y")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(7)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(7)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(7)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(7)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(7)
	}
	return protoreflect.ValueOfInt64(7)
}
