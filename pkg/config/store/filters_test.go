package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/buffer"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/headermutation"
	httprouter "github.com/weir-proxy/weir/pkg/proxy/filter/http/router"
)

const (
	ecdsListener = `
"@type": type.googleapis.com/envoy.config.listener.v3.Listener
name: %NAME%
address: { socket_address: { address: 127.0.0.1, port_value: %PORT% } }
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: web
      route_config: { name: none }
      http_filters:
      - name: dynamic
        config_discovery:
          config_source: { resource_api_version: V3, ads: {} }
          type_urls: [type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer]
          %MORE%
      - { name: envoy.filters.http.router }
---
`
	bufferFilter = `
"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
name: dynamic
typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: %BYTES% }
---
`
	mutationFilter = `
"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
name: dynamic
typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation }
---
`
	filterStats = "extension_config_discovery.http_filter.dynamic."
)

func withFilters(t *testing.T) func(*Options) {
	t.Helper()
	registry, err := extension.NewRegistry(append(httprouter.Factories(), buffer.Factory(), headermutation.Factory())...)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := translate.New(translate.Options{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Translate = tr }
}

func ecds(name, port, more string) string {
	return strings.ReplaceAll(at(ecdsListener, name, port), "%MORE%", more)
}

func buffers(n string) string { return strings.ReplaceAll(bufferFilter, "%BYTES%", n) }

func (r *rig) limit(t *testing.T) int {
	t.Helper()
	f := r.Snapshot().Filters.Get("dynamic")
	if f == nil {
		return 0
	}
	return f.Config.(*buffer.Config).MaxRequestBytes
}

func TestListenerWarmsUntilItsFiltersCome(t *testing.T) {
	r := newRig(t, withFilters(t))
	if err := r.full(t, xds.ListenerType, "1", ecds("web", "1002", "")); err != nil {
		t.Fatal(err)
	}
	if got := r.listeners(); len(got) != 0 || !r.src.wanted["TypedExtensionConfig dynamic"] {
		t.Errorf("listeners = %v before their filters, wanted %v", got, r.src.wanted)
	}
	if err := r.full(t, xds.FilterType, "1", buffers("7")); err != nil {
		t.Fatal(err)
	}
	if got := r.listeners(); !slices.Equal(got, []string{"web"}) || r.limit(t) != 7 {
		t.Errorf("listeners = %v, limit %d", got, r.limit(t))
	}
	listener := r.Snapshot().Listeners.Get("web")
	if err := r.full(t, xds.FilterType, "2", buffers("8")); err != nil {
		t.Fatal(err)
	}
	if r.limit(t) != 8 || r.Snapshot().Listeners.Get("web") != listener {
		t.Errorf("limit %d, or another listener", r.limit(t))
	}
	r.counter(t, filterStats+"config_reload", 2)
	r.counter(t, filterStats+"update_success", 2)
	if d := r.Dump(); len(d.Filters) != 1 || d.Filters[0].Active == nil {
		t.Errorf("dump has %+v", d.Filters)
	}

	t.Log("another type is refused, and the last one stays")
	err := r.full(t, xds.FilterType, "3", mutationFilter)
	if err == nil || !strings.Contains(err.Error(), "dynamic: listener web: filter config has type URL type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation but expect type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer") {
		t.Errorf("error = %v", err)
	}
	if err := r.full(t, xds.FilterType, "4", buffers("0")); err == nil {
		t.Error("a bad configuration was taken")
	}
	if r.limit(t) != 8 {
		t.Errorf("limit %d", r.limit(t))
	}
	r.counter(t, filterStats+"config_fail", 2)

	t.Log("it goes by name, and is asked for no more when the listener goes")
	if err := r.Update(t.Context(), xds.Update{Type: xds.FilterType, Version: "5", Removed: []string{"dynamic"}}); err != nil {
		t.Fatal(err)
	}
	if r.limit(t) != 0 {
		t.Errorf("limit %d", r.limit(t))
	}
	if err := r.full(t, xds.ListenerType, "6", ""); err != nil {
		t.Fatal(err)
	}
	if r.src.wanted["TypedExtensionConfig dynamic"] {
		t.Error("it is still wanted")
	}
}

func TestBadFilterEndsTheWait(t *testing.T) {
	r := newRig(t, withFilters(t))
	if err := r.full(t, xds.ListenerType, "1", ecds("web", "1002", "")); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.FilterType, "1", mutationFilter); err == nil {
		t.Error("a filter of another type was taken")
	}
	if got := r.listeners(); !slices.Equal(got, []string{"web"}) {
		t.Errorf("listeners = %v", got)
	}
}

func TestFilterThatNobodyWaitsFor(t *testing.T) {
	r := newRig(t, withFilters(t))
	const at = `apply_default_config_without_warming: true
          default_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 3 }`
	if err := r.full(t, xds.ListenerType, "1", ecds("web", "1002", at)); err != nil {
		t.Fatal(err)
	}
	if got := r.listeners(); !slices.Equal(got, []string{"web"}) || !r.src.wanted["TypedExtensionConfig dynamic"] {
		t.Errorf("listeners = %v", got)
	}
}

func TestConflictingListeners(t *testing.T) {
	r := newRig(t, withFilters(t))
	if err := r.full(t, xds.ListenerType, "1", ecds("web", "1002", "")); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.FilterType, "1", buffers("7")); err != nil {
		t.Fatal(err)
	}
	other := strings.ReplaceAll(ecds("other", "1003", ""), "http.buffer.v3.Buffer", "http.header_mutation.v3.HeaderMutation")
	if err := r.full(t, xds.ListenerType, "2", ecds("web", "1002", "")+other); err != nil {
		t.Fatal(err)
	}
	if got := r.listeners(); !slices.Equal(got, []string{"other", "web"}) {
		t.Errorf("listeners = %v", got)
	}
	r.counter(t, filterStats+"config_conflict", 1)
}
