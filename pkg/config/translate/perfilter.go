package translate

import (
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// perFilter translates typed_per_filter_config.
func (c *call) perFilter(m map[string]*anypb.Any, p *path) map[string]*model.FilterOverride {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]*model.FilterOverride, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if o := c.override(name, m[name], p.entry("typed_per_filter_config", name)); o != nil {
			out[name] = o
		}
	}
	return out
}

// override translates one entry: the filter's own message, or a FilterConfig around it. Whatever does not disable the filter
// enables it.
func (c *call) override(name string, a *anypb.Any, p *path) *model.FilterOverride {
	optional := false
	if c.typeOf(a) == extension.TypeURL(&routev3.FilterConfig{}) {
		wrapper, ok := c.unpack(a, p).(*routev3.FilterConfig)
		switch {
		case !ok:
			return nil
		case wrapper.GetDisabled():
			return &model.FilterOverride{Disabled: true}
		case wrapper.GetConfig() == nil:
			c.fail(p, "empty route/virtual host per filter configuration for %s filter: set config, to {} if the filter is only to be enabled", name)
			return nil
		case wrapper.GetConfig().GetTypeUrl() == "":
			return &model.FilterOverride{}
		}
		optional, a, p = wrapper.GetIsOptional(), wrapper.GetConfig(), p.field("config")
	}
	f, err := c.t.registry.LookupPerRoute(extension.HTTPFilters, c.typeOf(a))
	if err != nil {
		own, e := c.t.registry.Lookup(extension.HTTPFilters, c.typeOf(a), "")
		switch {
		case optional:
			c.warnAs(codeOf(err, CodeNotice), p, "optional per-route configuration is skipped: %v", err)
			return &model.FilterOverride{}
		case e == nil:
			c.fail(p, "the filter %s does not support virtual host or route specific configurations", own.Name)
		default:
			c.failAs(codeOf(err, CodeUnknownExtension), p, "%v", err)
		}
		return nil
	}
	m := c.unpack(a, p)
	if m == nil {
		return nil
	}
	v, err := f.DecodePerRoute(m)
	if err != nil {
		c.decodeError(err, m, p, "decode per-route configuration of "+f.Name)
		return nil
	}
	c.review(f, m, p)
	c.readSources(v, p)
	return &model.FilterOverride{Config: v, TypeURL: f.TypeURL()}
}

// checkOverrides warns about per-route configuration of inline routes at p that no filter of the connection manager reads.
// Envoy accepts it as well, since route configurations may be shared.
func (c *call) checkOverrides(h *model.HTTPConnectionManager, p *path) {
	if h.InlineRoutes == nil {
		return
	}
	types := map[string][]string{}
	add := func(list []*model.HTTPFilter) {
		for _, f := range list {
			types[f.Name] = append(types[f.Name], f.TypeURL)
			if f.Discovery != nil {
				types[f.Name] = append(types[f.Name], f.Discovery.TypeURLs...)
			}
		}
	}
	add(h.HTTPFilters)
	for _, u := range h.Upgrades {
		add(u.Filters)
	}
	check := func(overrides map[string]*model.FilterOverride, p *path) {
		for _, name := range slices.Sorted(maps.Keys(overrides)) {
			o, at := overrides[name], p.entry("typed_per_filter_config", name)
			switch has := types[name]; {
			case len(has) == 0:
				c.warn(at, "no HTTP filter of the connection manager is named %q: this has no effect", name)
			case o.TypeURL != "" && !slices.Contains(has, o.TypeURL):
				c.warn(at, "the HTTP filter named %q is of another type: this has no effect", name)
			}
		}
	}
	check(h.InlineRoutes.PerFilter, p)
	for i, vh := range h.InlineRoutes.VirtualHosts {
		at := p.elem("virtual_hosts", i)
		check(vh.PerFilter, at)
		for j, r := range vh.Routes {
			at := at.elem("routes", j)
			check(r.PerFilter, at)
			if r.Action == nil {
				continue
			}
			for k := range r.Action.Weighted {
				check(r.Action.Weighted[k].PerFilter, at.field("route").field("weighted_clusters").elem("clusters", k))
			}
		}
	}
}
