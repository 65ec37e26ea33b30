package explain

import (
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/httpinspector"
	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/tlsinspector"
)

// discovered is the configuration that a filter has now which ECDS configures, and where that comes from; nil when there is none.
func (w *walk) discovered(name string, d *model.FilterDiscovery) (c *model.FilterConfig, from string) {
	var delivered *model.FilterConfig
	if w.opt.FilterConfig != nil {
		delivered = w.opt.FilterConfig(name)
	}
	switch c = d.Choose(delivered); {
	case c == nil:
		return nil, "ECDS, which has not delivered any; there is no default_config"
	case c == delivered:
		return c, "ECDS, " + version(&c.Resource)
	}
	return c, "default_config: ECDS has not delivered any that it may have"
}

// configOf is the configuration of a filter: its own, or what d gives; nil when there is none.
func (w *walk) configOf(own any, name string, d *model.FilterDiscovery) any {
	if d == nil {
		return own
	}
	if c, _ := w.discovered(name, d); c != nil {
		return c.Config
	}
	return nil
}

// filterName names a filter of a chain, and tells where ECDS configures it.
func (w *walk) filterName(name string, d *model.FilterDiscovery) string {
	if d == nil {
		return name
	}
	_, from := w.discovered(name, d)
	return name + " (" + from + ")"
}

func (w *walk) listenerFilters(s *Step, l *model.Listener) {
	var names []string
	for _, f := range l.ListenerFilters {
		name := w.filterName(f.Name, f.Discovery)
		if w.disabled(f) {
			name += " (disabled: " + f.Disabled.String() + ")"
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		s.detail("filters", "%s", strings.Join(names, ", "))
	}
}

// unconfigured names the first listener filter without configuration: such a listener closes its connections.
func (w *walk) unconfigured(l *model.Listener) string {
	for _, f := range l.ListenerFilters {
		if f.Discovery == nil {
			continue
		}
		if c, _ := w.discovered(f.Name, f.Discovery); c == nil {
			return f.Name
		}
	}
	return ""
}

// disabled tells whether a listener filter leaves the connection alone.
func (w *walk) disabled(f *model.ListenerFilter) bool {
	return f.Disabled != nil && f.Disabled.Matches(w.q.Dst)
}

func (w *walk) inspectsTLS(l *model.Listener) bool { return inspects[*tlsinspector.Filter](w, l) }

// inspects tells whether the listener has a filter of type F that looks at the connection.
func inspects[F any](w *walk, l *model.Listener) bool {
	return slices.ContainsFunc(l.ListenerFilters, func(f *model.ListenerFilter) bool {
		_, ok := w.configOf(f.Config, f.Name, f.Discovery).(F)
		return ok && !w.disabled(f)
	})
}

// plainText gives what an http_inspector tells filter chains of a client that speaks plain text: HTTP/1.1 unless the question says
// otherwise.
func (w *walk) plainText(l *model.Listener) []string {
	switch {
	case w.q.TLS || !inspects[*httpinspector.Filter](w, l):
		return nil
	case len(w.q.ALPN) > 0:
		return w.q.ALPN
	}
	return []string{httpinspector.HTTP11}
}

// network goes on with the filter of a chain.
func (w *walk) network(fc *model.FilterChain, f *model.NetworkFilter) {
	name, config := f.Name, f.Config
	if f.Discovery != nil {
		c, from := w.discovered(name, f.Discovery)
		name += " (" + from + ")"
		if c == nil {
			w.step("filter", name)
			w.closed("its network filter " + f.Name + " has no configuration")
			return
		}
		config = c.Config
	}
	switch cfg := config.(type) {
	case *model.TCPProxy:
		w.tcp(name, cfg)
	case *model.HTTPConnectionManager:
		w.http(fc, name, cfg)
	default:
		w.step("filter", name)
		w.verdict(OutcomeUnknown, w.prefix+"; what its network filter "+f.Name+" does is unknown to explain.")
	}
}
