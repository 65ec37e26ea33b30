package translate

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// filterKind is a kind of filters and the category of extensions that they belong to.
type filterKind struct {
	kind     model.FilterKind
	category string
}

// filterKinds are those of which ECDS may deliver configurations.
func filterKinds() []filterKind {
	return []filterKind{
		{model.HTTPFilterKind, extension.HTTPFilters},
		{model.UpstreamHTTPFilterKind, extension.UpstreamHTTPFilters},
		{model.NetworkFilterKind, extension.NetworkFilters},
		{model.ListenerFilterKind, extension.ListenerFilters},
	}
}

// discovery translates the source of a filter's configuration. last tells that the filter is the last of its chain.
func (c *call) discovery(filters filterKind, name string, m *corev3.ExtensionConfigSource, last bool, p *path) *model.FilterDiscovery {
	out := &model.FilterDiscovery{
		Kind: filters.kind, Source: c.source(m.GetConfigSource(), p.field("config_source")),
		WithoutWarming: m.GetApplyDefaultConfigWithoutWarming(), Terminal: last && filters.kind != model.ListenerFilterKind,
	}
	if m.GetConfigSource() == nil {
		c.fail(p.field("config_source"), "must be set")
	}
	for i, u := range m.GetTypeUrls() {
		f, err := c.t.registry.Lookup(filters.category, u, "")
		if err != nil || u == "" {
			c.fail(p.elem("type_urls", i), "no factory found for a required type URL %s", u)
			continue
		}
		out.TypeURLs = append(out.TypeURLs, f.TypeURL())
	}
	c.possible(filters, name, out, p)
	if out.WithoutWarming && m.GetDefaultConfig() == nil {
		c.fail(p.field("apply_default_config_without_warming"), "filter config %s applied without warming but has no default config", name)
	}
	if a := m.GetDefaultConfig(); a != nil {
		at := p.field("default_config")
		f, config := c.filterConfig(filters.category, a, at)
		switch {
		case f == nil:
		case !out.Accepts(f.TypeURL()):
			c.fail(at, "filter config has type URL %s but expect %s", f.TypeURL(), strings.Join(m.GetTypeUrls(), ", "))
		case f.Terminal != out.Terminal:
			c.misplaced(name, f, filters.kind.Chain(), at)
		default:
			out.Default = config
		}
	}
	return out
}

// possible checks that a network filter may come at all: one of its types has to be of a filter that may stand at its place.
func (c *call) possible(filters filterKind, name string, d *model.FilterDiscovery, p *path) {
	if filters.kind != model.NetworkFilterKind || len(d.TypeURLs) == 0 {
		return
	}
	for _, u := range d.TypeURLs {
		if f, err := c.t.registry.Lookup(filters.category, u, ""); err != nil || f.Terminal == d.Terminal {
			return
		}
	}
	if d.Terminal {
		c.fail(p, "no configuration can come: network filter %s is the last of its chain, and none of its types ends one", name)
	} else {
		c.fail(p, "no configuration can come: network filter %s is not the last of its chain, and all of its types end one", name)
	}
}

// filterConfig decodes the configuration of a filter of a category that is not in the chain itself. It returns nil after it
// recorded an error.
func (c *call) filterConfig(category string, a *anypb.Any, p *path) (*extension.Factory, *model.FilterConfig) {
	f, err := c.t.registry.Lookup(category, c.typeOf(a), "")
	if err != nil {
		c.failAs(codeOf(err, CodeUnknownExtension), p, "%v", err)
		return nil, nil
	}
	m := c.unpack(a, p)
	if m == nil {
		return nil, nil
	}
	out := &model.FilterConfig{TypeURL: f.TypeURL(), Terminal: f.Terminal}
	switch m := m.(type) {
	case *hcmv3.HttpConnectionManager:
		out.Config = c.hcm(m, p)
		return f, out
	case *tcpv3.TcpProxy:
		out.Config = c.tcpProxy(m, p)
		return f, out
	}
	if f.Decode == nil {
		c.fail(p, "extension %s cannot be used here", f.Name)
		return nil, nil
	}
	if out.Config, err = f.Decode(m); err != nil {
		c.decodeError(err, m, p, "decode "+f.Name)
		return nil, nil
	}
	out.Upstream, out.UpstreamLogs = c.routerParts(a, p)
	c.review(f, m, p)
	c.readSources(out.Config, p)
	return f, out
}

// FilterConfig translates a filter configuration that was delivered by ECDS.
func (t *Translator) FilterConfig(m *corev3.TypedExtensionConfig, meta Meta) (*model.FilterConfig, []Warning, error) {
	c := t.begin(m, meta, resourceName("filter configuration", m.GetName()))
	out := &model.FilterConfig{}
	var root *path
	if a := m.GetTypedConfig(); a != nil {
		if _, config := c.filterConfig(c.categoryOf(a), a, root.field("typed_config")); config != nil {
			out = config
		}
	}
	out.Resource = c.identity(m.GetName(), m)
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
}

// categoryOf is the first category of filters that knows a configuration's type; that of HTTP filters when none does.
func (c *call) categoryOf(a *anypb.Any) string {
	for _, k := range filterKinds() {
		if _, err := c.t.registry.Lookup(k.category, c.typeOf(a), ""); err == nil {
			return k.category
		}
	}
	return extension.HTTPFilters
}
