package hcm

import (
	"net/netip"
	"strings"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/originalip"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// mutateRequest makes the request's own statements about its origin true: addresses, scheme, ids and x-envoy headers. It
// returns the answer to a request whose origin cannot be told, where that is refused; nil goes on.
func (s *stream) mutateRequest() *message.Response {
	m := s.conn.m
	cfg, h := m.cfg, &s.Request.Headers
	for _, e := range m.early {
		e.Mutate(&s.Stream)
	}
	client, trusted, refused := s.takeForwarded()
	if refused != 0 {
		m.stats.rqRejectedIP.Inc()
		return s.Reply(&s.Stream, filter.Reply{Status: refused, Details: "rejecting_because_detection_failed"})
	}
	if client.IsValid() && client != s.conn.fc.Info.Remote.Addr() {
		s.Format.Client = netip.AddrPortFrom(client, 0)
		s.info.Client = s.Format.Client
	}
	h.DelID(message.XEnvoyInternal)
	s.internal = trusted && s.isInternal(client)
	edge := !s.internal && cfg.UseRemoteAddress
	if s.internal {
		h.AddID(message.XEnvoyInternal, "true")
	} else {
		s.sanitize(edge)
		if edge && client.IsValid() {
			h.SetID(message.XEnvoyExternalAddress, s.Arena.End(client.AppendTo(s.Arena.Begin())))
		}
	}
	if h.Has(message.Referer) {
		s.checkReferer()
	}
	s.setScheme()
	if cfg.AddUserAgent {
		s.addUserAgent()
	}
	if cfg.Via != "" {
		appendTo(s, h, message.Via, cfg.Via)
	}
	if cfg.GenerateRequestID {
		s.settleRequestID(edge)
	}
	s.forwardClientCert()
	return nil
}

// traceReason is where Envoy keeps in a UUID why the request is traced, untraced what it says of one that is not: it is
// the version of a random UUID.
const (
	uuidLen     = 36
	traceReason = 14
	untraced    = "4"
)

// settleRequestID makes sure that there is an x-request-id, and that strangers have no say in it unless they may.
func (s *stream) settleRequestID(edge bool) {
	cfg, h := s.conn.m.cfg, &s.Request.Headers
	switch old := h.Get(message.XRequestID); {
	case old == "" || edge && !cfg.PreserveRequestID:
		h.SetID(message.XRequestID, s.Arena.End(format.AppendUUID(s.Arena.Begin())))
	case edge && cfg.PackTraceReason && len(old) == uuidLen && old[traceReason:traceReason+1] != untraced:
		h.SetID(message.XRequestID, s.Arena.Join(old[:traceReason], untraced, old[traceReason+1:]))
	}
}

// takeForwarded works out the client's address from the connection and x-forwarded-for, and adds to the latter. trusted
// tells that the address may be taken for an internal one; refused is the status for a request without an address, where
// there has to be one.
func (s *stream) takeForwarded() (client netip.Addr, trusted bool, refused int) {
	cfg := s.conn.m.cfg
	remote := s.conn.fc.Info.Remote.Addr()
	if !cfg.UseRemoteAddress {
		client, trusted, refused = s.detectOrigin(remote)
		if !client.IsValid() {
			client, trusted = remote, false
		}
		return client, trusted, refused
	}
	xff, has := "", s.Request.Headers.Has(message.XForwardedFor)
	if has {
		xff, _ = s.Request.Headers.Joined("x-forwarded-for")
	}
	if hops := int(cfg.XFFNumTrustedHops); hops > 0 {
		client, _ = originalip.Forwarded(xff, hops-1)
	}
	if !client.IsValid() {
		client = remote
	}
	if !cfg.SkipXFFAppend {
		s.appendForwarded(xff, remote)
	}
	return client, !has, 0
}

// detectOrigin asks the extensions, or takes x-forwarded-for at its word when there is none.
func (s *stream) detectOrigin(peer netip.Addr) (client netip.Addr, trusted bool, refused int) {
	m, h := s.conn.m, &s.Request.Headers
	if m.origins == nil {
		if !h.Has(message.XForwardedFor) {
			return client, false, 0
		}
		xff, _ := h.Joined("x-forwarded-for")
		client, trusted = originalip.Forwarded(xff, int(m.cfg.XFFNumTrustedHops))
		return client, trusted, 0
	}
	for _, x := range m.origins {
		o := x.Detect(s.Request, peer)
		if o.RejectStatus != 0 {
			return client, false, o.RejectStatus
		}
		if !o.SkipAppend {
			xff, _ := h.Joined("x-forwarded-for")
			s.appendForwarded(xff, peer)
		}
		if o.Client.IsValid() {
			return o.Client, o.Trusted, 0
		}
	}
	return client, false, 0
}

// appendForwarded adds the peer to x-forwarded-for, whose value so far is xff. Unix sockets have no address to add.
func (s *stream) appendForwarded(xff string, peer netip.Addr) {
	if !peer.IsValid() {
		return
	}
	if local := s.conn.m.deps.LocalAddr; local.IsValid() && peer.IsLoopback() {
		peer = local
	}
	b := s.Arena.Begin()
	if xff != "" {
		b = append(append(b, xff...), ',')
	}
	s.Request.Headers.SetID(message.XForwardedFor, s.Arena.End(peer.AppendTo(b)))
}

// isInternal tells whether an address belongs to the internal networks; the invalid one is that of a unix socket.
func (s *stream) isInternal(a netip.Addr) bool {
	cfg := s.conn.m.cfg
	if !a.IsValid() {
		return cfg.InternalUnixSockets
	}
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

// idSet is a set of well-known headers.
type idSet [256]bool

func idsOf(ids ...message.ID) *idSet {
	set := &idSet{}
	for _, id := range ids {
		set[id] = true
	}
	return set
}

// externalOnly are the headers that only internal clients may send, edgeOnly those that are removed at the edge besides;
// read only.
var (
	externalOnly = idsOf(
		message.XEnvoyRetriableStatusCodes, message.XEnvoyRetriableHeaderNames, message.XEnvoyRetryOn, message.XEnvoyRetryGRPCOn,
		message.XEnvoyMaxRetries, message.XEnvoyUpstreamAltStatName, message.XEnvoyUpstreamRQTimeoutMS,
		message.XEnvoyUpstreamRQPerTryTimeoutMS, message.XEnvoyUpstreamRQTimeoutAltResponse, message.XEnvoyExpectedRQTimeoutMS,
		message.XEnvoyForceTrace, message.XEnvoyIPTags, message.XEnvoyOriginalURL, message.XEnvoyHedgeOnPerTryTimeout,
	)
	edgeOnly = idsOf(
		message.XEnvoyDecoratorOperation, message.XEnvoyDownstreamServiceCluster, message.XEnvoyDownstreamServiceNode,
		message.XEnvoyOriginalPath,
	)
)

// sanitize removes what an external client may not say.
func (s *stream) sanitize(edge bool) {
	h := &s.Request.Headers
	for i := 0; i < h.Len(); {
		if id := h.At(i).ID; externalOnly[id] || edge && edgeOnly[id] {
			h.DelID(id)
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

// checkReferer removes what is not one absolute URL, as Envoy does.
func (s *stream) checkReferer() {
	h := &s.Request.Headers
	value, _ := h.Joined("referer")
	scheme, rest, ok := strings.Cut(h.Get(message.Referer), "://")
	host, _, _ := strings.Cut(rest, "/")
	if !ok || len(value) != len(scheme)+len("://")+len(rest) || host == "" || !isScheme(scheme) || strings.ContainsAny(host, " \t<>\"{}|\\^`") {
		h.DelID(message.Referer)
	}
}

// isScheme tells whether a text is the scheme of a URL (RFC 3986 section 3.1).
func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !('0' <= s[i] && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.')) {
			return false
		}
	}
	return s != ""
}

// setScheme settles x-forwarded-proto, x-forwarded-port and :scheme.
func (s *stream) setScheme() {
	cfg, req := s.conn.m.cfg, s.Request
	h := &req.Headers
	untrusted := cfg.UseRemoteAddress && cfg.XFFNumTrustedHops == 0
	proto := h.Get(message.XForwardedProto)
	if proto == "" || untrusted {
		proto = scheme(s.conn.fc)
		h.SetID(message.XForwardedProto, proto)
	}
	if cfg.AppendForwardedPort && (untrusted || !h.Has(message.XForwardedPort)) {
		if local := s.conn.fc.Info.Local; local.IsValid() {
			h.SetID(message.XForwardedPort, s.Arena.Int(int64(local.Port())))
		}
	}
	if req.Version >= message.HTTP2 {
		req.Scheme = strings.ToLower(req.Scheme) // which only copies what is not lower case
	}
	switch {
	case cfg.SchemeOverwrite != "":
		req.Scheme = cfg.SchemeOverwrite
		h.SetID(message.XForwardedProto, cfg.SchemeOverwrite)
	case req.Version < message.HTTP2 && (proto == "http" || proto == "https"):
		req.Scheme = proto
	}
	s.MatchScheme = cfg.SchemeMatchUpstream && cfg.SchemeOverwrite == ""
}
