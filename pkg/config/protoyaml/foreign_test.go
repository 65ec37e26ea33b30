package protoyaml

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// TestForeign decodes messages of proxies that are built on Envoy: the type stays, and the content is not looked into.
func TestForeign(t *testing.T) {
	for name, text := range map[string]string{
		"plain":        `{name: x, typed_config: {"@type": type.googleapis.com/stats.PluginConfig, whatever: {a: [1]}}}`,
		"typed struct": `{name: x, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/stats.PluginConfig, value: {a: 1}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			m := &corev3.TypedExtensionConfig{}
			if _, err := Decode([]byte(text), "", m, Options{}); err != nil {
				t.Fatal(err)
			}
			if got := m.GetTypedConfig().GetTypeUrl(); got != "type.googleapis.com/stats.PluginConfig" {
				t.Errorf("type URL %s", got)
			}
		})
	}
	m := &corev3.TypedExtensionConfig{Name: "x", TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/istio.network.X", Value: []byte("\xff")}}
	if _, err := ValidateMessage(m, Options{}); err != nil {
		t.Errorf("binary: %v", err)
	}
	m.TypedConfig.TypeUrl = "type.googleapis.com/envoy.Unheard"
	if _, err := ValidateMessage(m, Options{}); err == nil {
		t.Error("any unknown type passes")
	}
	if _, _, err := DecodeResources([]byte(`{"@type": type.googleapis.com/istio.workload.Address}`), "", Options{}); err == nil {
		t.Error("a foreign resource passes")
	}
}
