package router

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// entry is a compiled route. It implements filter.Rules.
type entry struct {
	table    *Table
	host     *host
	route    *model.Route
	levels   levels
	weighted []levels // by index of Action.Weighted
	total    uint64   // sum of the weights
	// aboutStream tells that Match has criteria that are not about the request itself.
	aboutStream bool
	// weightKeys are the runtime keys of the weights; nil when there are none.
	weightKeys []string
	records    *filter.Records // nil without stat_prefix
	// shape tells regular expressions that fixed, which is what they begin with, can stand for.
	shape regexShape
	fixed string
}

var _ filter.Rules = (*entry)(nil)

func compileEntry(t *Table, h *host, r *model.Route) (*entry, error) {
	e := &entry{table: t, host: h, route: r}
	e.aboutStream = r.Match.TLS != nil || len(r.Match.Metadata) > 0 || len(r.Match.FilterState) > 0
	var errs []error
	own, err := compileMutations(&r.Headers)
	if err != nil {
		errs = append(errs, err)
	}
	e.levels = newLevels(t.config.MostSpecificWins, &own, &h.headers, &t.headers)
	if r.Action == nil && r.Redirect == nil && r.Direct == nil {
		errs = append(errs, errors.New("has no action"))
	}
	if (r.Match.Kind == model.PathRegex || r.Match.Kind == model.PathTemplate) && r.Match.Regex == nil {
		errs = append(errs, errors.New("match: has no regex"))
	} else if r.Match.Regex != nil {
		e.shape, e.fixed = shapeOf(r.Match.Regex)
	}
	if r.Action != nil && len(r.Action.Weighted) > 0 {
		if err := e.compileSplit(r.Action, &own); err != nil {
			errs = append(errs, err)
		}
	}
	if r.StatPrefix != "" && t.opt.Stats != nil {
		e.records = filter.NewRecords(r.StatPrefix, t.recordsScope(h.config.Name, "route", r.StatPrefix))
	}
	if d := r.Direct; d != nil && t.config.MaxDirectResponseBytes > 0 && len(d.Body) > t.config.MaxDirectResponseBytes {
		errs = append(errs, fmt.Errorf("direct response: body of %d bytes is over the limit of %d", len(d.Body), t.config.MaxDirectResponseBytes))
	}
	if d := r.Direct; d != nil && d.Format != nil {
		if _, ok := d.Format.Format.(filter.BodyFormat); !ok {
			errs = append(errs, fmt.Errorf("direct response: %T is not a format", d.Format.Format))
		}
	}
	return e, errors.Join(errs...)
}

// compileSplit prepares the choice between the clusters of a split.
func (e *entry) compileSplit(a *model.RouteAction, own *mutations) error {
	var errs []error
	for i := range a.Weighted {
		w := &a.Weighted[i]
		m, err := compileMutations(&w.Headers)
		if err != nil {
			errs = append(errs, fmt.Errorf("weighted cluster %q: %w", w.Name, err))
		}
		e.weighted = append(e.weighted, newLevels(e.table.config.MostSpecificWins, &m, own, &e.host.headers, &e.table.headers))
		e.total += uint64(w.Weight)
		if prefix := a.WeightedRuntime; prefix != "" {
			e.weightKeys = append(e.weightKeys, prefix+"."+w.Name)
		}
	}
	if e.total == 0 {
		errs = append(errs, errors.New("weighted clusters: the weights must not sum to zero"))
	}
	return errors.Join(errs...)
}

// question is a request as routes look at it.
type question struct {
	req    *message.Request
	info   *streaminfo.Info // may be nil
	path   string           // without query and fragment, and without parameters where the configuration says so
	random uint64
}

// ask makes the question about a request.
func (t *Table) ask(r *message.Request, info *streaminfo.Info, random uint64) question {
	return question{req: r, info: info, path: t.pathForMatching(r.Path), random: random}
}

// pathForMatching is the part of a path that routes look at.
func (t *Table) pathForMatching(path string) string {
	path = pathOnly(path)
	if t.config.IgnorePathParameters {
		path, _, _ = strings.Cut(path, ";")
	}
	return path
}

// isConnect tells requests for a tunnel.
func (q *question) isConnect() bool {
	return q.req.Method == "CONNECT" || q.req.Protocol != "" && match.EqualFold(q.req.Protocol, "connect-udp")
}

func pathOnly(p string) string {
	if i := strings.IndexByte(p, '?'); i >= 0 {
		p = p[:i]
	}
	if i := strings.IndexByte(p, '#'); i >= 0 {
		p = p[:i]
	}
	return p
}

func (e *entry) matches(q *question) bool {
	m := &e.route.Match
	if !e.matchesPath(m, q) {
		return false
	}
	if len(m.Headers) > 0 && !match.Headers(m.Headers, q.req) {
		return false
	}
	if len(m.Query) > 0 && !match.Query(m.Query, q.req.Path) {
		return false
	}
	if m.GRPC && !format.IsGRPC(q.req.Headers.Get(message.ContentType)) {
		return false
	}
	if len(m.Cookies) > 0 && !match.Cookies(m.Cookies, &q.req.Headers) {
		return false
	}
	if e.aboutStream && !matchesStream(m, q.info) {
		return false
	}
	return m.Fraction == nil || e.table.opt.Runtime.Drawn(m.Fraction, q.random)
}

// matchesStream decides the criteria that are not about the request itself.
func matchesStream(m *model.RouteMatch, info *streaminfo.Info) bool {
	if info == nil {
		info = &streaminfo.Info{}
	}
	if m.TLS != nil && !match.TLS(m.TLS, info.Conn) {
		return false
	}
	for i := range m.Metadata {
		if !match.Metadata(&m.Metadata[i], info.Dynamic) {
			return false
		}
	}
	for i := range m.FilterState {
		if !match.FilterState(&m.FilterState[i], info.FilterState) {
			return false
		}
	}
	return true
}

func (e *entry) matchesPath(m *model.RouteMatch, q *question) bool {
	if m.Kind == model.PathConnect {
		return q.isConnect()
	}
	if q.path == "" { // CONNECT without path
		return false
	}
	switch m.Kind {
	case model.PathExact:
		if m.IgnoreCase {
			return match.EqualFold(q.path, m.Path)
		}
		return q.path == m.Path
	case model.PathSeparatedPrefix:
		return match.HasPrefix(q.path, m.Path, m.IgnoreCase) && (len(q.path) == len(m.Path) || q.path[len(m.Path)] == '/')
	case model.PathRegex, model.PathTemplate:
		switch e.shape {
		case regexExact:
			return q.path == e.fixed
		case regexPrefix: // "." is not for line feeds
			return strings.HasPrefix(q.path, e.fixed) && strings.IndexByte(q.path[len(e.fixed):], '\n') < 0
		}
		return m.Regex.MatchString(q.path) // anchored by whoever built the model
	}
	return match.HasPrefix(q.path, m.Path, m.IgnoreCase)
}

// Retry implements filter.Rules.
func (e *entry) Retry() *model.RetryPolicy {
	if a := e.route.Action; a != nil && a.Retry != nil {
		return a.Retry
	}
	return e.host.config.Retry
}

// BufferLimit implements filter.Rules.
func (e *entry) BufferLimit(connection int) int {
	limit := e.route.BufferLimit
	switch {
	case e.route.HasBufferLimit:
	case e.host.config.HasBufferLimit:
		limit = e.host.config.BufferLimit
	default:
		return connection
	}
	if limit.BeyondConnection {
		return int(min(limit.Bytes, math.MaxInt))
	}
	return int(min(limit.Bytes, uint64(max(connection, 0))))
}
