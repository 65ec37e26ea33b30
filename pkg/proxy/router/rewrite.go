package router

import (
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// rewriteHost applies the host rewrites that are known before a host is chosen; auto_host_rewrite is the router filter's.
func (e *entry) rewriteHost(s *filter.Stream, r *filter.Route, a *model.RouteAction) {
	req := s.Request
	var to string
	switch {
	case r.Weighted != nil && r.Weighted.HostRewrite != "":
		to = r.Weighted.HostRewrite
	case a.HostRewrite != "":
		to = a.HostRewrite
	case a.HostRewriteHeader != "":
		to, _ = req.Lookup(a.HostRewriteHeader)
	case a.HostRewriteRegex != nil:
		to = a.HostRewriteRegex.Regex.ReplaceAllString(pathOnly(req.Path), a.HostRewriteRegex.Substitution)
	}
	if to != "" {
		SetHost(s, to, a.AppendXFH)
	}
}

// SetHost replaces the request's host and, when asked to, appends the old one to x-forwarded-host unless it is the last
// entry already.
func SetHost(s *filter.Stream, to string, appendXFH bool) {
	req := s.Request
	if appendXFH && req.Authority != "" {
		old, ok := req.Headers.Joined("x-forwarded-host")
		switch {
		case !ok || old == "":
			req.Headers.SetID(message.XForwardedHost, req.Authority)
		case !lastElementIs(old, req.Authority):
			req.Headers.SetID(message.XForwardedHost, s.Arena.Join(old, ",", req.Authority))
		}
	}
	req.Authority = to
}

func lastElementIs(list, s string) bool {
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:]) == s
}

// rewritePath applies prefix_rewrite, regex_rewrite or path_rewrite_policy; the query stays.
func (e *entry) rewritePath(s *filter.Stream, a *model.RouteAction, keepPath bool) {
	req := s.Request
	if !a.HasPrefixRewrite && a.RegexRewrite == nil && a.TemplateRewrite == nil || req.Path == "" {
		return
	}
	old := req.Path
	if keepPath {
		req.Headers.SetID(message.XEnvoyOriginalPath, old)
	}
	if a.HasPrefixRewrite {
		req.Path = s.Arena.Join(a.PrefixRewrite, old[e.matched(old):])
		return
	}
	if a.TemplateRewrite != nil {
		req.Path = e.templatePath(s, a.TemplateRewrite, old)
		return
	}
	req.Path = regexPath(s, a.RegexRewrite, old)
}

// templatePath puts a path together from what the route's template matched; a path that it does not match, because a filter
// has changed it, stays.
func (e *entry) templatePath(s *filter.Stream, parts []model.TemplatePart, path string) string {
	bare := pathOnly(path)
	groups := e.route.Match.Regex.FindStringSubmatchIndex(e.table.pathForMatching(path))
	if groups == nil {
		return path
	}
	b := s.Arena.Begin()
	for i := range parts {
		p := &parts[i]
		b = append(b, p.Literal...)
		if at := 2 * p.Group; p.Group > 0 && groups[at] >= 0 {
			b = append(b, bare[groups[at]:groups[at+1]]...)
		}
	}
	return s.Arena.End(append(b, path[len(bare):]...))
}

func regexPath(s *filter.Stream, rw *model.RegexRewrite, path string) string {
	bare := pathOnly(path)
	return s.Arena.Join(rw.Regex.ReplaceAllString(bare, rw.Substitution), path[len(bare):])
}

// matched is the length of the part of path that the route matched: the prefix, or the path as configured, or the whole path
// without query.
func (e *entry) matched(path string) int {
	m := &e.route.Match
	switch m.Kind {
	case model.PathPrefix, model.PathSeparatedPrefix, model.PathExact:
		return min(len(m.Path), len(path))
	}
	return len(pathOnly(path))
}

// Location implements filter.Rules.
func (e *entry) Location(s *filter.Stream, _ *filter.Route) string {
	rd := e.route.Redirect
	req := s.Request
	scheme := req.Scheme
	if v := req.Headers.Get(message.XForwardedProto); v != "" {
		scheme = v
	}
	from := scheme
	switch {
	case rd.HTTPS:
		scheme = "https"
	case rd.Scheme != "":
		scheme = rd.Scheme
	}
	port := ""
	if rd.Port != 0 {
		port = ":" + strconv.FormatUint(uint64(rd.Port), 10)
	}
	host := rd.Host
	if host == "" {
		host = redirectHost(req.Authority, from, scheme, port != "")
	}
	return s.Arena.Join(scheme, "://", host, port, e.redirectPath(s, rd))
}

// redirectHost removes the request's port when the redirect names another one, or when it is the default of a scheme
// that the redirect leaves.
func redirectHost(authority, from, to string, newPort bool) string {
	bare := WithoutPort(authority)
	if bare == authority {
		return authority
	}
	port := authority[len(bare):]
	if newPort || from != to && (from == "https" && port == ":443" || from == "http" && port == ":80") {
		return bare
	}
	return authority
}

func (e *entry) redirectPath(s *filter.Stream, rd *model.Redirect) string {
	path := s.Request.Path
	bare := pathOnly(path)
	query := path[len(bare):]
	if rd.StripQuery {
		path, query = bare, ""
	}
	switch {
	case rd.Path != "":
		if strings.IndexByte(rd.Path, '?') >= 0 { // its own query wins
			return rd.Path
		}
		return s.Arena.Join(rd.Path, query)
	case rd.HasPrefix:
		return s.Arena.Join(rd.PrefixRewrite, path[e.matched(path):])
	case rd.RegexRewrite != nil:
		return regexPath(s, rd.RegexRewrite, path)
	}
	return path
}
