package translate

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
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
			if category != extension.HTTPFilters {
				c.unsupported(at.field("config_discovery"))
				continue
			}
			one.Discovery = c.discovery(f.GetName(), d, i == len(list)-1, at.field("config_discovery"))
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
		one.TypeURL, one.Config, one.Upstream = factory.TypeURL(), config, c.routerFilters(f.GetTypedConfig(), at)
		one.UpstreamLogs = c.routerLogs(f.GetTypedConfig(), at)
		out = append(out, one)
	}
	c.terminal(category, kind, entries, p)
	return out
}

// discovery translates the source of a filter's configuration.
func (c *call) discovery(name string, m *corev3.ExtensionConfigSource, last bool, p *path) *model.FilterDiscovery {
	out := &model.FilterDiscovery{
		Source: c.source(m.GetConfigSource(), p.field("config_source")), WithoutWarming: m.GetApplyDefaultConfigWithoutWarming(), Terminal: last,
	}
	if m.GetConfigSource() == nil {
		c.fail(p.field("config_source"), "must be set")
	}
	for i, u := range m.GetTypeUrls() {
		f, err := c.t.registry.Lookup(extension.HTTPFilters, u, "")
		if err != nil || u == "" {
			c.fail(p.elem("type_urls", i), "no factory found for a required type URL %s", u)
			continue
		}
		out.TypeURLs = append(out.TypeURLs, f.TypeURL())
	}
	if out.WithoutWarming && m.GetDefaultConfig() == nil {
		c.fail(p.field("apply_default_config_without_warming"), "filter config %s applied without warming but has no default config", name)
	}
	if a := m.GetDefaultConfig(); a != nil {
		at := p.field("default_config")
		f, config := c.filterConfig(a, at)
		switch {
		case f == nil:
		case !out.Accepts(f.TypeURL()):
			c.fail(at, "filter config has type URL %s but expect %s", f.TypeURL(), strings.Join(m.GetTypeUrls(), ", "))
		case f.Terminal != last:
			c.misplaced(name, f, "http", at)
		default:
			out.Default = config
		}
	}
	return out
}

// filterConfig decodes the configuration of an HTTP filter that is not in the chain itself. It returns nil after it recorded
// an error.
func (c *call) filterConfig(a *anypb.Any, p *path) (*extension.Factory, any) {
	f, err := c.t.registry.Lookup(extension.HTTPFilters, c.typeOf(a), "")
	if err != nil {
		c.failAs(codeOf(err, CodeUnknownExtension), p, "%v", err)
		return nil, nil
	}
	m := c.unpack(a, p)
	if m == nil {
		return nil, nil
	}
	if f.Decode == nil {
		c.fail(p, "extension %s cannot be used here", f.Name)
		return nil, nil
	}
	if r, ok := m.(*routerv3.Router); ok && len(r.GetUpstreamHttpFilters()) > 0 {
		c.unsupported(p.field("upstream_http_filters"))
	}
	config, err := f.Decode(m)
	if err != nil {
		c.decodeError(err, m, p, "decode "+f.Name)
		return nil, nil
	}
	c.review(f, m, p)
	c.readSources(config, p)
	return f, config
}

// FilterConfig translates a filter configuration that was delivered by ECDS.
func (t *Translator) FilterConfig(m *corev3.TypedExtensionConfig, meta Meta) (*model.FilterConfig, []Warning, error) {
	c := t.begin(m, meta, resourceName("filter configuration", m.GetName()))
	out := &model.FilterConfig{Resource: c.identity(m.GetName(), m)}
	var root *path
	if a := m.GetTypedConfig(); a != nil {
		if f, config := c.filterConfig(a, root.field("typed_config")); f != nil {
			out.TypeURL, out.Config, out.Terminal = f.TypeURL(), config, f.Terminal
		}
	}
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
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
