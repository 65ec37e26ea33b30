package explain

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// tcp follows a connection that is proxied as it is.
func (w *walk) tcp(name string, cfg *model.TCPProxy) {
	var total uint64
	for i := range cfg.Clusters {
		total += uint64(cfg.Clusters[i].Weight)
	}
	var targets []target
	later := ""
	if o := cfg.OnDemand; o != nil {
		later = "a connection waits up to " + limit(o.Timeout) + " while it is fetched on demand"
	}
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		switch {
		case len(cfg.Clusters) == 1:
			targets = append(targets, target{name: c.Name, fetched: later})
		case c.Weight > 0:
			targets = append(targets, target{name: c.Name, share: share(c.Weight, total), fetched: later})
		}
	}
	s := w.step("filter", "TCP proxy to "+targetsText(targets))
	s.detail("name", "%s", name)
	s.detail("timeouts", "idle %s, whole connection %s, up to %s to connect", limit(cfg.IdleTimeout),
		limit(cfg.MaxDownstreamConnectionDuration), counted(int64(cfg.MaxConnectAttempts), "attempt"))
	what := "proxies its bytes"
	if len(targets) > 1 {
		what += ","
	}
	w.forward(what, targets)
}

// http follows a request.
func (w *walk) http(fc *model.FilterChain, name string, cfg *model.HTTPConnectionManager) {
	s := w.step("filter", "HTTP connection manager "+cfg.StatPrefix)
	s.detail("name", "%s", name)
	var names []string
	for _, f := range cfg.HTTPFilters {
		if !f.Disabled {
			names = append(names, w.filterName(f.Name, f.Discovery))
		}
	}
	s.detail("filters", "%s", strings.Join(names, ", "))
	if len(names) > 1 {
		s.note("What the filters before the last one do to the request is unknown to explain.")
	}
	if fc.TLS == nil && w.q.TLS {
		s.note("The client speaks TLS and the filter chain does not terminate it.")
		w.closed("what it says is TLS, and its filter chain expects HTTP in plain text")
		return
	}
	req, assumed := w.q.request(fc.TLS != nil)
	w.normalize(s, cfg, req)
	text := req.Method + " " + req.Scheme + "://" + req.Authority + req.Path
	if assumed {
		text += " (the host is assumed; --host gives another)"
	}
	s.detail("request", "%s", text)
	w.route(cfg, req)
}

// normalize applies what the connection manager does to the host before it looks for a route, and tells of what it may do to
// the path.
func (w *walk) normalize(s *Step, cfg *model.HTTPConnectionManager, req *message.Request) {
	bare := router.WithoutPort(req.Authority)
	port := req.Authority[len(bare):]
	if cfg.StripTrailingDot {
		bare = strings.TrimSuffix(bare, ".")
	}
	if cfg.StripAnyHostPort || cfg.StripMatchingPort && port == fmt.Sprintf(":%d", w.q.Dst.Port()) {
		port = ""
	}
	req.Authority = bare + port
	if len(cfg.EarlyMutations) > 0 {
		s.note("Early header mutations change the request before routes are matched; they are not applied here.")
	}
	path, _, _ := strings.Cut(req.Path, "?")
	unusual := strings.Contains(path, "//") || strings.Contains(path, "/.") || strings.ContainsAny(path, `%\`)
	if unusual && (cfg.NormalizePath || cfg.MergeSlashes || cfg.EscapedSlashes != model.EscapedKeep) {
		s.note("The connection manager normalises paths; this one is matched here as it was given.")
	}
}

// table gives the routes in force; nil with the reason why there are none.
func (w *walk) table(s *Step, cfg *model.HTTPConnectionManager, req *message.Request) (t *router.Table, why string) {
	rc, from, why := w.routeConfig(s, cfg, req)
	if rc == nil {
		return nil, why
	}
	s.detail("config", "%s (%s)", rc.Name, from)
	opt := router.Options{Runtime: w.opt.Runtime, ServiceCluster: w.opt.ServiceCluster}
	if rc.VHDS != nil && w.opt.Hosts != nil {
		opt.Hosts = func() *model.HostSet { return w.opt.Hosts(rc.Name) }
		opt.Faulty = func(err error) { s.note("%v", err) }
	}
	t, err := router.Compile(rc, opt)
	if err != nil {
		s.note("%v", err)
		return nil, "there is no route configuration"
	}
	return t, ""
}

// route follows a request to the route that takes it.
func (w *walk) route(cfg *model.HTTPConnectionManager, req *message.Request) {
	s := w.step("route", "none")
	t, why := w.table(s, cfg, req)
	if t == nil {
		w.noRoute(why)
		return
	}
	var decisions []string
	// 0 takes every route that takes a share of the requests, however small.
	r := t.MatchTraced(req, w.info(), 0, func(text string) { decisions = append(decisions, text) })
	if r.VirtualHost == nil {
		w.noRoute(w.missingHost(cfg, r.Config, req.Authority))
		return
	}
	s.detail("host", "virtual host %s, by domain %s", r.VirtualHost.Name, domain(r.Config, r.VirtualHost, req.Authority))
	for _, d := range decisions {
		s.detail("matcher", "%s", d)
	}
	w.unknownCriteria(s, r.VirtualHost)
	routes := routesOf(r.VirtualHost)
	if r.Route == nil {
		w.noRoute(fmt.Sprintf("none of the %s of virtual host %s matches", counted(int64(len(routes)), "route"), r.VirtualHost.Name))
		return
	}
	if !slices.Contains(routes, r.Route) {
		s.Result = "a redirect to HTTPS, because the virtual host has require_tls"
		if r.VirtualHost.RequireTLS == model.TLSExternalOnly {
			s.note("Only requests from outside are redirected; whether this one is internal depends on addresses and headers.")
		}
		w.redirect(s, &r, req)
		return
	}
	s.Result = routeName(r.VirtualHost, r.Route)
	why = "it is the first that fits of " + counted(int64(len(routes)), "route")
	if r.VirtualHost.Matcher != nil {
		why = "the matcher leads to it"
	}
	s.detail("match", "%s; %s", matchText(&r.Route.Match), why)
	w.fraction(s, t, &r, req)
	w.countedFor(s, &r, req)
	w.rateLimits(s, &r, req)
	w.filters(s, cfg, &r)
	w.act(s, cfg, &r, req)
}

func (w *walk) noRoute(why string) {
	w.answer.Steps[len(w.answer.Steps)-1].Result = "none: " + why
	w.verdict(OutcomeAnswered, w.prefix+" and answers 404: "+why+".")
}

// routesOf are the routes of a virtual host, or those that its matcher leads to.
func routesOf(v *model.VirtualHost) []*model.Route {
	if v.Matcher != nil {
		return v.MatcherRoutes
	}
	return v.Routes
}

func routeName(v *model.VirtualHost, r *model.Route) string {
	at := fmt.Sprintf("routes[%d]", slices.Index(v.Routes, r))
	if v.Matcher != nil {
		at = fmt.Sprintf("route %d of the matcher", slices.Index(v.MatcherRoutes, r)+1)
	}
	if r.Name == "" {
		return at
	}
	return r.Name + " (" + at + ")"
}

// fraction tells what becomes of the requests that a route with runtime_fraction leaves.
func (w *walk) fraction(s *Step, t *router.Table, r *filter.Route, req *message.Request) {
	f := r.Route.Match.Fraction
	if f == nil {
		return
	}
	const last = 999_999 // the last one of 100, of 10,000 and of 1,000,000
	rest := t.Match(req, w.info(), last)
	if rest.Route == r.Route {
		return
	}
	takes := fmt.Sprintf("%d of %d requests", f.Numerator, f.Denominator)
	if now := w.opt.Runtime.Replaced(*f); now != *f {
		takes = fmt.Sprintf("%d of %d requests, by runtime key %s", now.Numerator, now.Denominator, f.RuntimeKey)
	}
	where := "where none matches them"
	if rest.Route != nil {
		where = "in the end to " + routeName(r.VirtualHost, rest.Route)
	}
	s.note("The route takes %s; the others go on to the routes after it, %s.", takes, where)
}

// domain is the entry of a virtual host's domains that an authority was found by: the exact one, else the longest suffix, else
// the longest prefix, else "*".
func domain(c *model.RouteConfig, v *model.VirtualHost, authority string) string {
	if c.IgnorePortInHost {
		authority = router.WithoutPort(authority)
	}
	authority = strings.ToLower(authority)
	best, rank := "*", 0
	for _, d := range v.Domains {
		d = strings.ToLower(d)
		found := 0
		switch suffix, isSuffix := strings.CutPrefix(d, "*"); {
		case d == authority:
			return d
		case d == "*":
		case isSuffix && len(suffix) < len(authority) && strings.HasSuffix(authority, suffix):
			found = 1<<20 + len(d)
		case strings.HasSuffix(d, "*") && len(d) <= len(authority) && strings.HasPrefix(authority, d[:len(d)-1]):
			found = len(d)
		}
		if found > rank {
			best, rank = d, found
		}
	}
	return best
}

// act follows what the route says is to be done.
func (w *walk) act(s *Step, cfg *model.HTTPConnectionManager, r *filter.Route, req *message.Request) {
	switch a := r.Route.Action; {
	case r.Route.Direct != nil:
		body := counted(int64(len(r.Route.Direct.Body)), "byte")
		if r.Route.Direct.Format != nil {
			body = "a body that is formatted for each request"
		}
		s.detail("action", "direct_response %d with %s", r.Route.Direct.Status, body)
		w.verdict(OutcomeAnswered, fmt.Sprintf("%s and answers %d itself: %s is a direct response.", w.prefix, r.Route.Direct.Status, s.Result))
	case r.Route.Redirect != nil:
		w.redirect(s, r, req)
	case a != nil:
		w.forwardRequest(s, cfg, r, a, req)
	}
}

func (w *walk) redirect(s *Step, r *filter.Route, req *message.Request) {
	code := r.Route.Redirect.Code
	if code == 0 {
		code = 301
	}
	location := r.Rules.Location(&filter.Stream{Request: req}, r)
	s.detail("action", "redirect %d to %s", code, location)
	w.verdict(OutcomeAnswered, fmt.Sprintf("%s and answers %d itself: a redirect to %s.", w.prefix, code, location))
}

// forwardRequest follows a request to the clusters of its route.
func (w *walk) forwardRequest(s *Step, cfg *model.HTTPConnectionManager, r *filter.Route, a *model.RouteAction, req *message.Request) {
	targets := w.targets(s, r, a, req)
	for i := range targets {
		targets[i].fetched = w.fetched(cfg, r)
	}
	s.detail("action", "forward to %s", targetsText(targets))
	timeouts := "timeout " + limit(a.Timeout)
	if a.HasIdleTimeout {
		timeouts += ", idle " + limit(a.IdleTimeout)
	}
	s.detail("limits", "%s; retries: %s", timeouts, retryText(r.Rules.Retry()))
	if a.HighPriority {
		s.detail("priority", "HIGH")
	}
	w.asides(s, r, a, req)
	if computes(r) {
		s.note("Headers are added whose values depend on the connection; what is not known of it is left out of them here.")
	}
	if len(targets) == 0 {
		w.verdict(OutcomeNoHost, fmt.Sprintf("%s and answers %d: no cluster is chosen.", w.prefix, notFound(a)))
		return
	}
	w.forward("forwards the request, by "+s.Result+" of virtual host "+r.VirtualHost.Name+",", targets)
}

func notFound(a *model.RouteAction) int {
	if a.ClusterNotFoundCode != 0 {
		return a.ClusterNotFoundCode
	}
	return 503
}

// targets are the clusters that the route may choose for this request.
func (w *walk) targets(s *Step, r *filter.Route, a *model.RouteAction, req *message.Request) []target {
	one := target{name: r.Cluster, high: a.HighPriority, code: notFound(a), request: req}
	switch {
	case a.ClusterHeader != "":
		s.detail("cluster", "named by header %s", a.ClusterHeader)
		if r.Cluster == "" {
			s.note("The request has no header %s, so no cluster is chosen; --header gives it.", a.ClusterHeader)
			return nil
		}
	case len(a.Weighted) > 0:
		if a.WeightedByHash {
			if _, given := match.Hash(a.HashPolicy, req, w.info(), nil); given {
				s.detail("split", "decided by the hash of the request")
				one.rewritten = rewritten(r, req)
				return []target{one}
			}
		}
		if _, given := req.Lookup(a.WeightedHeader); a.WeightedHeader != "" && given {
			s.detail("split", "decided by header %s", a.WeightedHeader)
			one.rewritten = rewritten(r, req)
			return []target{one}
		}
		return w.split(r, a, req, one)
	}
	one.rewritten = rewritten(r, req)
	return []target{one}
}

// split are the clusters of a weighted split that get anything.
func (w *walk) split(r *filter.Route, a *model.RouteAction, req *message.Request, like target) []target {
	weights := make([]uint32, len(a.Weighted))
	var total uint64
	for i := range a.Weighted {
		weights[i] = w.weight(a, &a.Weighted[i])
		total += uint64(weights[i])
	}
	if total == 0 { // by runtime; the first one is chosen then
		weights[0], total = 1, 1
	}
	var out []target
	for i := range a.Weighted {
		c := &a.Weighted[i]
		if weights[i] == 0 {
			continue
		}
		chosen, t := *r, like
		chosen.Weighted, chosen.Cluster = c, c.Name
		if c.Header != "" {
			chosen.Cluster, _ = req.Lookup(c.Header)
		}
		t.name, t.share, t.rewritten = chosen.Cluster, share(weights[i], total), rewritten(&chosen, req)
		out = append(out, t)
	}
	return out
}

// weight is that of a cluster of a split, which a runtime key may replace.
func (w *walk) weight(a *model.RouteAction, c *model.WeightedCluster) uint32 {
	if a.WeightedRuntime != "" {
		if n, ok := w.opt.Runtime.Number(a.WeightedRuntime + "." + c.Name); ok {
			return uint32(min(n, math.MaxUint32))
		}
	}
	return c.Weight
}
