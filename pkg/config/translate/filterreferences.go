package translate

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// filterConfigs checks what the filters name that ECDS delivers.
func (r *references) filterConfigs() {
	for _, name := range slices.Sorted(maps.Keys(r.Filters)) {
		resource := resourceName("filter configuration", name)
		r.network(resource, "typed_config", r.Filters[name].Config)
		r.filters(resource, "typed_config.upstream_http_filters", r.Filters[name].Upstream)
	}
}

// discovery checks the source of a filter's configuration and what its default one names; d may be nil.
func (r *references) discovery(resource, at, name string, d *model.FilterDiscovery) {
	if d == nil {
		return
	}
	at += ".config_discovery"
	r.source(resource, at+".config_source", d.Source)
	r.delivered(missing{resource, at, "filter configuration", name}, r.Filters[name] != nil || d.Default != nil)
	if d.Default != nil {
		r.network(resource, at+".default_config", d.Default.Config)
		r.filters(resource, at+".default_config.upstream_http_filters", d.Default.Upstream)
	}
}

// filters checks a chain of HTTP filters.
func (r *references) filters(resource, at string, list []*model.HTTPFilter) {
	for i, h := range list {
		at := fmt.Sprintf("%s[%d]", at, i)
		r.discovery(resource, at, h.Name, h.Discovery)
		r.filters(resource, at+".typed_config.upstream_http_filters", h.Upstream)
	}
}
