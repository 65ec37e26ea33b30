package httprouter

import (
	"bytes"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// errRestart tells that the request is now another one, and goes through the chain again; read only.
var errRestart = errors.New("internal redirect")

// redirectStats count why redirects of upstreams were passed on to the client instead of being followed.
type redirectStats struct {
	badLocation, noRoute, predicate, tooMany, unsafeScheme *stats.Counter
}

func newRedirectStats(sc *stats.Scope) redirectStats {
	return redirectStats{
		badLocation:  sc.Counter("passthrough_internal_redirect_bad_location"),
		noRoute:      sc.Counter("passthrough_internal_redirect_no_route"),
		predicate:    sc.Counter("passthrough_internal_redirect_predicate"),
		tooMany:      sc.Counter("passthrough_internal_redirect_too_many_redirects"),
		unsafeScheme: sc.Counter("passthrough_internal_redirect_unsafe_scheme"),
	}
}

// followed is what a stream remembers of the redirects that were followed for it, in its filter state.
type followed struct {
	count uint32
	from  map[[2]string]bool // route that redirected and route that it led to
}

// followedKey is Envoy's name of the object.
const followedKey = "num_internal_redirects"

// follows makes the request the one that a redirect of the upstream asks for, and tells whether it did so.
func (x *exchange) follows(p *model.InternalRedirect, resp *message.Response) bool {
	if !slices.Contains(p.Codes, resp.Status) {
		return false
	}
	// What was sent must be there to be sent again.
	if !x.send.complete.Load() || x.send.overflow.Load() || !x.redirect(p, resp) {
		x.cluster.Stats().RedirectFailed.Inc()
		return false
	}
	x.cluster.Stats().RedirectSucceeded.Inc()
	return true
}

// redirect changes the request, or leaves it as it was when the redirect may not be followed.
func (x *exchange) redirect(p *model.InternalRedirect, resp *message.Response) bool {
	s, st := x.s, &x.f.redirects
	req := s.Request
	// The response, whose strings are views of its connection's buffer, ends before the request goes out again.
	to, err := url.Parse(strings.Clone(resp.Headers.Get(message.Location)))
	if err != nil || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		st.badLocation.Inc()
		return false
	}
	secure := x.secure()
	if !p.AllowCrossScheme && secure != (to.Scheme == "https") {
		st.unsafeScheme.Inc()
		return false
	}
	state, _ := s.Info.FilterState[followedKey].(*followed)
	if state == nil {
		state = &followed{from: map[[2]string]bool{}}
	}
	if state.count >= p.Max {
		st.tooMany.Inc()
		return false
	}
	saved := *req
	saved.Headers = message.Headers{}
	saved.Headers.CopyFrom(&req.Headers)
	copyHeaders(p, &resp.Headers, &req.Headers)
	req.Scheme, req.Authority, req.Path = to.Scheme, to.Host, to.RequestURI()
	if !x.accepts(p, state, secure, to.Scheme == "https") {
		req.Scheme, req.Authority, req.Path = saved.Scheme, saved.Authority, saved.Path
		req.Headers.CopyFrom(&saved.Headers)
		return false
	}
	state.count++
	if s.Info.FilterState == nil {
		s.Info.FilterState = map[string]any{}
	}
	s.Info.FilterState[followedKey] = state
	if resp.Status == 303 && req.Method != "GET" && req.Method != "HEAD" {
		req.Method, req.ContentLength = "GET", 0
		req.Headers.DelID(message.ContentLength)
		x.send.drop()
	}
	req.Headers.SetID(message.XEnvoyOriginalURL, s.Arena.Join(saved.Scheme, "://", saved.Authority, saved.Path))
	return true
}

// secure tells whether the client spoke TLS.
func (x *exchange) secure() bool {
	if c := x.s.Info.Conn; c != nil && c.TLS != nil {
		return true
	}
	return x.s.Request.Scheme == "https"
}

// accepts asks the new route and the predicates. The stream's route is the new one while it is true.
func (x *exchange) accepts(p *model.InternalRedirect, state *followed, fromTLS, toTLS bool) bool {
	s, st := x.s, &x.f.redirects
	s.Host.ClearRoute(s)
	rt := s.Host.Route(s)
	from, ok := x.route.Route.Name, false
	defer func() {
		if !ok {
			s.Host.ClearRoute(s)
		}
	}()
	if rt.Route == nil {
		st.noRoute.Inc()
		return false
	}
	to := rt.Route.Name
	ok = !p.SafeCrossScheme || fromTLS || !toTLS
	for _, allowed := range p.AllowedRoutes {
		ok = ok && slices.Contains(allowed, to)
	}
	ok = ok && (!p.PreviousRoutes || !state.from[[2]string{from, to}])
	if !ok {
		st.predicate.Inc()
		return false
	}
	state.from[[2]string{from, to}] = true
	return true
}

// copyHeaders makes the request's headers those of the response, also where that has none.
func copyHeaders(p *model.InternalRedirect, from, to *message.Headers) {
	for _, name := range p.CopyHeaders {
		to.Del(name)
		for f := range from.All() {
			if f.ID == message.IDOf(name) && (f.ID != message.Other || match.EqualFold(f.Name, name)) {
				to.Add(name, strings.Clone(f.Value))
			}
		}
	}
}

// restart ends the exchange and sends the request through the chain again, with the body that was kept of it.
func (f *Filter) restart(s *filter.Stream, x *exchange) (*message.Response, error) {
	var body message.Body
	if r, ok := x.send.replay().(*replay); ok {
		own := &replay{Bytes: message.NewBytes(bytes.Clone(x.send.kept))}
		if r.trailers != nil {
			own.trailers = &message.Headers{}
			own.trailers.CopyFrom(r.trailers)
		}
		body = own
	}
	method, length := s.Request.Method, s.Request.ContentLength
	_ = s.Host.Watch(s, nil)
	s.Host.Finish(s, nil)
	s.Request.Method, s.Request.ContentLength, s.Request.Body = method, length, body
	s.Info.Details = "internal_redirect"
	return nil, filter.ErrRestart
}
