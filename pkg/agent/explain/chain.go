package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/chain"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
)

// listener says which listener serves the connection.
func (w *walk) listener(r listener.Route) {
	l := r.Listener
	how := map[listener.Found]string{
		listener.FoundExact:      "it has this address",
		listener.FoundAnyAddress: "it has any address on this port",
		listener.FoundCatchAll:   "no listener has this address; it has use_original_dst and takes what is left",
	}[r.Found]
	if w.direct {
		how = "its socket listens there"
	}
	s := w.step("listener", l.Name+": "+how)
	s.detail("version", "%s", version(&l.Resource))
	s.detail("address", "%s", listenerAddress(l))
	if l.TrafficDirection != model.TrafficUnspecified {
		s.detail("direction", "%s", [...]string{"UNSPECIFIED", "INBOUND", "OUTBOUND"}[l.TrafficDirection])
	}
	w.listenerFilters(s, l)
	if w.meant != "" && w.meant != l.Name {
		s.note("The kernel's rule was made for listener %s; the destination alone decides, and this one is more specific.", w.meant)
	}
	if w.q.TLS && !w.inspectsTLS(l) {
		s.note("The listener has no tls_inspector that looks at it: the client's TLS, its server name and protocols are unknown to it.")
	}
	if len(w.q.ALPN) == 0 && len(w.plainText(l)) > 0 {
		s.note("Its http_inspector is taken to find HTTP/1.1. Ask with --alpn h2c or http/1.0 about another.")
	}
	if w.direct && l.UseOriginalDst {
		s.note("With use_original_dst, a connection that netfilter redirected here goes to the listener of its original " +
			"destination instead. Ask for that destination with --assume-captured.")
	}
}

func listenerAddress(l *model.Listener) string {
	text := l.Address.String()
	if l.Pipe != "" {
		text = l.Pipe
	}
	for _, a := range l.AdditionalAddresses {
		text += ", " + a.String()
	}
	if !l.BindToPort {
		text += ", not bound (bind_to_port: false)"
	}
	return text
}

// chain says which filter chain serves the connection, and goes on with its filter.
func (w *walk) chain(r listener.Route) {
	l := r.Listener
	if name := w.unconfigured(l); name != "" {
		w.closed("its listener filter " + name + " has no configuration: ECDS did not deliver one that it may have, and there is no default_config")
		return
	}
	in := chain.Input{Destination: w.q.Dst, Source: w.source(), DirectSource: w.source(), TransportProtocol: "raw_buffer", ALPN: w.plainText(l)}
	if w.q.TLS && w.inspectsTLS(l) {
		in.TransportProtocol, in.ServerName, in.ALPN = "tls", w.q.SNI, w.q.ALPN
	}
	fc := r.Chains.Find(&in)
	if fc == nil {
		s := w.step("filter chain", "none matches, and there is no default_filter_chain")
		s.detail("looked for", "%s", given(&in))
		w.sourceNote(s, l)
		w.closed("no filter chain of listener " + l.Name + " matches it")
		return
	}
	s := w.step("filter chain", chainName(l, fc))
	switch criteria := criteria(&fc.Match); {
	case fc == l.DefaultFilterChain:
		s.detail("matched by", "nothing: it is the default_filter_chain, and no other chain matches")
		s.detail("looked for", "%s", given(&in))
	case criteria == "":
		s.detail("matched by", "everything: it has no criteria")
	default:
		s.detail("matched by", "%s", criteria)
		s.detail("looked for", "%s", given(&in))
	}
	w.transport(s, fc)
	w.sourceNote(s, l)
	if len(fc.Filters) == 0 {
		w.step("filter", "none")
		w.closed("its filter chain has no network filter")
		return
	}
	if last := len(fc.Filters) - 1; w.admitted(fc.Filters[:last]) {
		w.network(fc, fc.Filters[last])
	}
}

// transport says what is spoken on the connection.
func (w *walk) transport(s *Step, fc *model.FilterChain) {
	switch {
	case fc.TLS == nil && w.q.TLS:
		s.detail("transport", "plain text: the client's TLS is passed on as it is")
	case fc.TLS == nil:
		s.detail("transport", "plain text")
	default:
		s.detail("transport", "%s", w.downstreamTLS(fc.TLS))
		if !w.q.TLS {
			s.note("The question does not say that the client speaks TLS; in plain text the handshake would fail.")
		}
	}
}

func (w *walk) downstreamTLS(t *model.DownstreamTLS) string {
	text := "TLS is terminated"
	var names []string
	for _, c := range t.Certificates {
		switch {
		case c.Secret == "":
			names = append(names, "inline")
		case w.opt.Secret(c.Secret) == nil:
			names = append(names, "secret "+c.Secret+" (not there yet: handshakes fail)")
		default:
			names = append(names, "secret "+c.Secret)
		}
	}
	if len(names) > 0 {
		text += ", certificate: " + strings.Join(names, ", ")
	}
	if t.RequireClientCertificate {
		text += ", a client certificate is required"
	}
	return text
}

// sourceNote tells that the source was assumed where it matters.
func (w *walk) sourceNote(s *Step, l *model.Listener) {
	matters := slices.ContainsFunc(l.FilterChains, func(fc *model.FilterChain) bool {
		m := &fc.Match
		return m.SourceType != model.SourceAny || len(m.SourcePrefixes)+len(m.SourcePorts)+len(m.DirectSourcePrefixes) > 0
	})
	if matters && !w.q.Src.IsValid() {
		s.note("The listener matches by source, which is taken to be %s, as the kernel would choose; --src gives another.",
			w.source().Addr())
	}
}

func chainName(l *model.Listener, fc *model.FilterChain) string {
	i := slices.Index(l.FilterChains, fc)
	switch {
	case fc == l.DefaultFilterChain && fc.Name == "":
		return "default_filter_chain"
	case fc == l.DefaultFilterChain:
		return "default_filter_chain " + fc.Name
	case fc.Name == "":
		return fmt.Sprintf("filter_chains[%d] of %d", i, len(l.FilterChains))
	}
	return fmt.Sprintf("%s (filter_chains[%d] of %d)", fc.Name, i, len(l.FilterChains))
}

// given lists what chains are looked up by.
func given(in *chain.Input) string {
	text := "destination " + in.Destination.String()
	if in.ServerName != "" {
		text += ", server name " + in.ServerName
	}
	text += ", transport protocol " + in.TransportProtocol
	if len(in.ALPN) > 0 {
		text += ", application protocols " + strings.Join(in.ALPN, " ")
	}
	if in.Source.Port() == 0 {
		return text + ", source " + in.Source.Addr().String()
	}
	return text + ", source " + in.Source.String()
}

// criteria lists a chain's criteria, in the order in which they are compared.
func criteria(m *model.FilterChainMatch) string {
	var parts []string
	add := func(name string, values ...string) {
		if len(values) > 0 {
			parts = append(parts, name+" "+strings.Join(values, " or "))
		}
	}
	if m.DestinationPort != 0 {
		add("destination_port", fmt.Sprint(m.DestinationPort))
	}
	add("prefix_ranges", prefixes(m.PrefixRanges)...)
	add("server_names", m.ServerNames...)
	if m.TransportProtocol != "" {
		add("transport_protocol", m.TransportProtocol)
	}
	add("application_protocols", m.ApplicationProtocols...)
	add("direct_source_prefix_ranges", prefixes(m.DirectSourcePrefixes)...)
	if m.SourceType != model.SourceAny {
		add("source_type", [...]string{"ANY", "SAME_IP_OR_LOOPBACK", "EXTERNAL"}[m.SourceType])
	}
	add("source_prefix_ranges", prefixes(m.SourcePrefixes)...)
	var ports []string
	for _, p := range m.SourcePorts {
		ports = append(ports, fmt.Sprint(p))
	}
	add("source_ports", ports...)
	return strings.Join(parts, "; ")
}

func prefixes(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

// version says where a resource comes from.
func version(r *model.Resource) string {
	switch {
	case !r.Dynamic:
		return "static, of the bootstrap"
	case r.Version == "":
		return "xDS, without version"
	}
	return "xDS version " + r.Version
}
