package hcm

import (
	"net/netip"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router"
)

// checkRequest answers requests that cannot be routed, and normalises path and host; nil goes on.
func (s *stream) checkRequest() *message.Response {
	req, st := s.Request, s.conn.m.stats
	if req.Authority == "" && req.Version != message.HTTP10 {
		return s.Reply(&s.Stream, filter.Reply{Status: 400, Details: "missing_host_header"})
	}
	if req.Method == "CONNECT" && req.Protocol == "" {
		s.normalizeHost()
		return nil
	}
	if req.Path == "" {
		return s.Reply(&s.Stream, filter.Reply{Status: 404, Details: "missing_path_rejected"})
	}
	if req.Path[0] != '/' && !(req.Path == "*" && req.Method == "OPTIONS") {
		st.rqNonRelativePath.Inc()
		return s.Reply(&s.Stream, filter.Reply{Status: 404, Details: "absolute_path_rejected"})
	}
	switch path, out := normalizePath(s.conn.m.cfg, &s.Arena, req.Path); out {
	case pathRejected:
		st.rqFailedPath.Inc()
		return s.Reply(&s.Stream, filter.Reply{Status: 400, Details: "path_normalization_failed"})
	case pathRedirect:
		st.rqRedirected.Inc()
		return s.Reply(&s.Stream, filter.Reply{Status: 307, Details: "path_normalization_failed", Modify: func(r *message.Response) {
			r.Headers.SetID(message.Location, path)
		}})
	default:
		req.Path = path
	}
	s.normalizeHost()
	return nil
}

// normalizeHost strips port and trailing dot as configured.
func (s *stream) normalizeHost() {
	cfg, req := s.conn.m.cfg, s.Request
	if !cfg.StripTrailingDot && !cfg.StripAnyHostPort && !cfg.StripMatchingPort {
		return
	}
	bare := router.WithoutPort(req.Authority)
	port := req.Authority[len(bare):]
	if cfg.StripTrailingDot {
		bare = strings.TrimSuffix(bare, ".")
	}
	if port != "" && (cfg.StripAnyHostPort || cfg.StripMatchingPort && s.isLocalPort(port[1:])) {
		port = ""
	}
	if len(bare)+len(port) != len(req.Authority) {
		req.Authority = s.Arena.Join(bare, port)
	}
}

func (s *stream) isLocalPort(port string) bool {
	want := s.conn.fc.Info.Local.Port()
	n := uint32(0)
	for i := range len(port) {
		n = n*10 + uint32(port[i]-'0')
		if n > 65535 {
			return false
		}
	}
	return n == uint32(want)
}

// mutateRequest makes the request's own statements about its origin true: addresses, scheme, ids and x-envoy headers.
func (s *stream) mutateRequest() {
	cfg, h := s.conn.m.cfg, &s.Request.Headers
	client, trusted := s.takeForwarded()
	if client.IsValid() && client != s.conn.fc.Info.Remote.Addr() {
		s.Format.Client = netip.AddrPortFrom(client, 0)
	}
	h.DelID(message.XEnvoyInternal)
	s.internal = trusted && client.IsValid() && isInternal(cfg, client)
	edge := !s.internal && cfg.UseRemoteAddress
	if s.internal {
		h.AddID(message.XEnvoyInternal, "true")
	} else {
		s.sanitize(edge)
		if edge && client.IsValid() {
			h.SetID(message.XEnvoyExternalAddress, s.Arena.End(client.AppendTo(s.Arena.Begin())))
		}
	}
	h.DelID(message.XForwardedClientCert)
	s.setScheme()
	if cfg.AddUserAgent {
		s.addUserAgent()
	}
	if cfg.Via != "" {
		appendTo(s, h, message.Via, cfg.Via)
	}
	if cfg.GenerateRequestID && (edge && !cfg.PreserveRequestID || !h.Has(message.XRequestID)) {
		h.SetID(message.XRequestID, s.Arena.End(format.AppendUUID(s.Arena.Begin())))
	}
}

// takeForwarded works out the client's address from the connection and x-forwarded-for, and adds to the latter. trusted
// tells that the address may be taken for an internal one.
func (s *stream) takeForwarded() (client netip.Addr, trusted bool) {
	cfg, h, info := s.conn.m.cfg, &s.Request.Headers, s.conn.fc.Info
	remote := info.Remote.Addr()
	xff, has := h.Joined("x-forwarded-for")
	hops := int(cfg.XFFNumTrustedHops)
	if !cfg.UseRemoteAddress {
		client, single := forwardedAddr(xff, hops)
		if !client.IsValid() {
			return remote, false
		}
		return client, single
	}
	if hops > 0 {
		client, _ = forwardedAddr(xff, hops-1)
	}
	if !client.IsValid() {
		client = remote
	}
	if !cfg.SkipXFFAppend && remote.IsValid() {
		from := remote
		if local := s.conn.m.deps.LocalAddr; remote.IsLoopback() && local.IsValid() {
			from = local
		}
		b := s.Arena.Begin()
		if has {
			b = append(append(b, xff...), ',')
		}
		h.SetID(message.XForwardedFor, s.Arena.End(from.AppendTo(b)))
	}
	return client, !has
}

// forwardedAddr is the address that is skip entries from the right of an x-forwarded-for list; single tells that the
// list has no other entry.
func forwardedAddr(xff string, skip int) (a netip.Addr, single bool) {
	if xff == "" {
		return netip.Addr{}, false
	}
	single = strings.IndexByte(xff, ',') < 0
	for ; skip > 0; skip-- {
		i := strings.LastIndexByte(xff, ',')
		if i < 0 {
			return netip.Addr{}, false
		}
		xff = xff[:i]
	}
	last := strings.TrimSpace(xff[strings.LastIndexByte(xff, ',')+1:])
	a, err := netip.ParseAddr(last)
	if err != nil {
		return netip.Addr{}, false
	}
	return a.Unmap(), single
}

// isInternal tells whether an address belongs to the internal networks.
func isInternal(cfg *model.HTTPConnectionManager, a netip.Addr) bool {
	if cfg.InternalCIDRs == nil {
		return a.IsPrivate() || a.IsLoopback()
	}
	for _, p := range cfg.InternalCIDRs {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// externalOnly are the headers that only internal clients may send; read only.
var externalOnly = [...]message.ID{
	message.XEnvoyRetriableStatusCodes, message.XEnvoyRetriableHeaderNames, message.XEnvoyRetryOn, message.XEnvoyRetryGRPCOn,
	message.XEnvoyMaxRetries, message.XEnvoyUpstreamAltStatName, message.XEnvoyUpstreamRQTimeoutMS,
	message.XEnvoyUpstreamRQPerTryTimeoutMS, message.XEnvoyUpstreamRQTimeoutAltResponse, message.XEnvoyExpectedRQTimeoutMS,
	message.XEnvoyForceTrace, message.XEnvoyIPTags, message.XEnvoyOriginalURL, message.XEnvoyHedgeOnPerTryTimeout,
}

// edgeOnly are removed at the edge besides; read only.
var edgeOnly = [...]message.ID{
	message.XEnvoyDecoratorOperation, message.XEnvoyDownstreamServiceCluster, message.XEnvoyDownstreamServiceNode,
	message.XEnvoyOriginalPath,
}

// sanitize removes what an external client may not say.
func (s *stream) sanitize(edge bool) {
	h := &s.Request.Headers
	for i := 0; i < h.Len(); {
		if f := h.At(i); listed(externalOnly[:], f.ID) || edge && listed(edgeOnly[:], f.ID) {
			h.DelID(f.ID)
			continue
		}
		i++
	}
	if s.table != nil {
		for _, name := range s.table.Config().InternalOnlyHeaders {
			h.Del(name)
		}
	}
}

func listed(ids []message.ID, id message.ID) bool {
	if id == message.Other {
		return false
	}
	for _, x := range ids {
		if x == id {
			return true
		}
	}
	return false
}

// setScheme settles x-forwarded-proto and :scheme.
func (s *stream) setScheme() {
	cfg, req := s.conn.m.cfg, s.Request
	h := &req.Headers
	proto := h.Get(message.XForwardedProto)
	if proto == "" || cfg.UseRemoteAddress && cfg.XFFNumTrustedHops == 0 {
		proto = scheme(s.conn.fc)
		h.SetID(message.XForwardedProto, proto)
	}
	switch {
	case cfg.SchemeOverwrite != "":
		req.Scheme = cfg.SchemeOverwrite
	case req.Version < message.HTTP2 && (proto == "http" || proto == "https"):
		req.Scheme = proto
	}
}

func (s *stream) addUserAgent() {
	h, d := &s.Request.Headers, &s.conn.m.deps
	if d.ServiceCluster == "" {
		return
	}
	h.SetID(message.XEnvoyDownstreamServiceCluster, d.ServiceCluster)
	if !h.Has(message.UserAgent) {
		h.AddID(message.UserAgent, d.ServiceCluster)
	}
	if d.ServiceNode != "" {
		h.SetID(message.XEnvoyDownstreamServiceNode, d.ServiceNode)
	}
}

// allowUpgrade tells whether the request's upgrade is configured, by the route first; use is the chain that replaces the
// usual one, if any.
func (s *stream) allowUpgrade(rt *filter.Route) (use *chain, ok bool) {
	kind := s.Request.Protocol
	if kind == "" {
		kind = "CONNECT"
	}
	up := s.conn.m.upgradeOf(kind)
	if up != nil {
		use, ok = up.chain, up.enabled
	}
	if rt.Route != nil && rt.Route.Action != nil {
		for i := range rt.Route.Action.Upgrades {
			if u := &rt.Route.Action.Upgrades[i]; strings.EqualFold(u.Type, kind) {
				return use, !u.Disabled
			}
		}
	}
	return use, ok
}

func (m *Manager) upgradeOf(kind string) *upgrade {
	if u := m.upgrade[kind]; u != nil {
		return u
	}
	return m.upgrade[strings.ToLower(kind)]
}
