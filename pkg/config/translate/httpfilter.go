package translate

import (
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// httpFilters translates the filters of one chain at p; those with errors and optional unknown ones are left out. category
// tells filters of connection managers from those of clusters, and kind is how errors call the chain.
func (c *call) httpFilters(category, kind string, list []*hcmv3.HttpFilter, p *path) []*model.HTTPFilter {
	var out []*model.HTTPFilter
	seen := map[string]bool{}
	entries := make([]entry, len(list))
	for i, f := range list {
		at := p.item(i)
		if seen[f.GetName()] {
			c.warn(at.field("name"), "another filter of the chain is named %q too: per-route configuration is for both", f.GetName())
		}
		seen[f.GetName()] = true
		one := &model.HTTPFilter{Name: f.GetName(), Disabled: f.GetDisabled()}
		if d := f.GetConfigDiscovery(); d != nil {
			filters := filterKind{model.HTTPFilterKind, category}
			if category == extension.UpstreamHTTPFilters {
				filters.kind = model.UpstreamHTTPFilterKind
			}
			one.Discovery = c.discovery(filters, f.GetName(), d, i == len(list)-1, at.field("config_discovery"))
			out = append(out, one)
			continue
		}
		entries[i] = entry{f.GetName(), f.GetTypedConfig()}
		factory, config := c.extension(category, f.GetName(), f.GetTypedConfig(), f.GetIsOptional(), at)
		if factory == nil {
			continue
		}
		if factory.Terminal && f.GetDisabled() {
			c.fail(at.field("disabled"), "terminal filter named %s cannot be disabled", f.GetName())
		}
		one.TypeURL, one.Config = factory.TypeURL(), config
		one.Upstream, one.UpstreamLogs = c.routerParts(f.GetTypedConfig(), at.field("typed_config"))
		out = append(out, one)
	}
	c.terminal(category, kind, entries, p)
	return out
}

// entry is what terminal needs to know of a filter entry; the zero value is one that it passes over.
type entry struct {
	name   string
	config *anypb.Any
}

// terminal checks that the last filter, and no other, is one that ends the chain. Unknown filters are passed over: they
// have their own error, or are optional and left out.
func (c *call) terminal(category, kind string, list []entry, p *path) {
	for i, e := range list {
		typeURL := ""
		if e.config != nil {
			typeURL = c.typeOf(e.config)
		}
		f, err := c.t.registry.Lookup(category, typeURL, e.name)
		if err != nil || e == (entry{}) {
			continue
		}
		if last := i == len(list)-1; f.Terminal != last {
			c.misplaced(e.name, f, kind, p)
		}
	}
}

// misplaced records that a filter is the last of its chain and must not be, or the other way round.
func (c *call) misplaced(name string, f *extension.Factory, kind string, p *path) {
	if f.Terminal {
		c.fail(p, "terminal filter named %s of type %s must be the last filter in a %s filter chain", name, f.Name, kind)
		return
	}
	c.fail(p, "non-terminal filter named %s of type %s is the last filter in a %s filter chain", name, f.Name, kind)
}
