package hcm

import (
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router"
)

// checkRequest answers requests that cannot be routed, and normalises path and host; nil goes on.
func (s *stream) checkRequest() *message.Response {
	req, st := s.Request, s.conn.m.stats
	if req.Authority == "" {
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
	path, out := normalizePath(s.conn.m.cfg, &s.Arena, req.Path, s.slashAction)
	if out == pathRejected && s.dropFragment() {
		path, out = normalizePath(s.conn.m.cfg, &s.Arena, req.Path, s.slashAction)
	}
	switch out {
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

// dropFragment takes the fragment off the path if there is one and the runtime wants that rather than to refuse the request.
func (s *stream) dropFragment() bool {
	at := strings.IndexByte(s.Request.Path, '#')
	if at < 0 || s.conn.m.deps.Runtime.Flag(model.RuntimeRejectFragment, true) {
		return false
	}
	s.Request.Path = s.Request.Path[:at]
	return true
}

// slashAction is what becomes of escaped slashes in this request: the runtime may spare a share of them.
func (s *stream) slashAction() model.EscapedSlashes {
	m := s.conn.m
	if m.cfg.EscapedSlashes != model.EscapedKeep && !m.deps.Runtime.Percent(model.RuntimeEscapedSlashesEnabled, 100, s.random) {
		return model.EscapedKeep
	}
	return m.cfg.EscapedSlashes
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
	connect := req.Method == "CONNECT" && req.Protocol == "" // whose target has a port always (RFC 9110 section 9.3.6)
	if port != "" && !connect && (cfg.StripAnyHostPort || cfg.StripMatchingPort && s.isLocalPort(port[1:])) {
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
