package router

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// entry is a compiled route. It implements filter.Rules.
type entry struct {
	table    *Table
	host     *host
	route    *model.Route
	headers  mutations
	weighted []mutations // by index of Action.Weighted
	total    uint64      // sum of the weights
}

var _ filter.Rules = (*entry)(nil)

func compileEntry(t *Table, h *host, r *model.Route) (*entry, error) {
	e := &entry{table: t, host: h, route: r}
	var errs []error
	var err error
	if e.headers, err = compileMutations(&r.Headers); err != nil {
		errs = append(errs, err)
	}
	if r.Action == nil && r.Redirect == nil && r.Direct == nil {
		errs = append(errs, errors.New("has no action"))
	}
	if r.Match.Kind == model.PathRegex && r.Match.Regex == nil {
		errs = append(errs, errors.New("match: has no regex"))
	}
	if r.Action != nil && len(r.Action.Weighted) > 0 {
		for i := range r.Action.Weighted {
			w := &r.Action.Weighted[i]
			m, err := compileMutations(&w.Headers)
			if err != nil {
				errs = append(errs, fmt.Errorf("weighted cluster %q: %w", w.Name, err))
			}
			e.weighted = append(e.weighted, m)
			e.total += uint64(w.Weight)
		}
		if e.total == 0 {
			errs = append(errs, errors.New("weighted clusters: the weights must not sum to zero"))
		}
	}
	if d := r.Direct; d != nil && t.config.MaxDirectResponseBytes > 0 && len(d.Body) > t.config.MaxDirectResponseBytes {
		errs = append(errs, fmt.Errorf("direct response: body of %d bytes is over the limit of %d", len(d.Body), t.config.MaxDirectResponseBytes))
	}
	return e, errors.Join(errs...)
}

// question is a request as routes look at it.
type question struct {
	req    *message.Request
	path   string // without query and fragment
	random uint64
}

func newQuestion(r *message.Request, random uint64) question {
	return question{req: r, path: pathOnly(r.Path), random: random}
}

func pathOnly(p string) string {
	if i := strings.IndexAny(p, "?#"); i >= 0 {
		return p[:i]
	}
	return p
}

func (e *entry) matches(q *question) bool {
	m := &e.route.Match
	if !matchesPath(m, q) {
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
	return m.Fraction == nil || e.table.drawn(m.Fraction, q.random)
}

// drawn tells whether a request is among a fraction. As in Envoy a number at the runtime key stands for so many percent
// instead, and one over 100 for all.
func (t *Table) drawn(f *model.Fraction, random uint64) bool {
	if f.RuntimeKey != "" && t.runtime != nil {
		if percent, ok := t.runtime(f.RuntimeKey); ok {
			return percent > 100 || random%100 < percent
		}
	}
	return f.Denominator == 0 || random%uint64(f.Denominator) < uint64(f.Numerator)
}

func matchesPath(m *model.RouteMatch, q *question) bool {
	if m.Kind == model.PathConnect {
		return q.req.Method == "CONNECT"
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
	case model.PathRegex:
		return m.Regex.MatchString(q.path) // anchored by whoever built the model
	}
	return match.HasPrefix(q.path, m.Path, m.IgnoreCase)
}

// choose fills in the route and its cluster.
func (e *entry) choose(q *question, out *filter.Route) {
	out.Route, out.Rules = e.route, e
	a := e.route.Action
	switch {
	case a == nil:
	case len(a.Weighted) > 0:
		w := e.pickWeighted(q)
		out.Weighted, out.Cluster = w, w.Name
	case a.ClusterHeader != "":
		out.Cluster, _ = q.req.Lookup(a.ClusterHeader)
	default:
		out.Cluster = a.Cluster
	}
}

func (e *entry) pickWeighted(q *question) *model.WeightedCluster {
	a := e.route.Action
	at := q.random
	if a.WeightedHeader != "" {
		if v, ok := q.req.Lookup(a.WeightedHeader); ok {
			if n, err := strconv.ParseUint(v, 10, 64); err == nil {
				at = n
			}
		}
	}
	at %= e.total
	for i := range a.Weighted {
		w := uint64(a.Weighted[i].Weight)
		if at < w {
			return &a.Weighted[i]
		}
		at -= w
	}
	return &a.Weighted[len(a.Weighted)-1]
}

// Retry implements filter.Rules.
func (e *entry) Retry() *model.RetryPolicy {
	if a := e.route.Action; a != nil && a.Retry != nil {
		return a.Retry
	}
	return e.host.config.Retry
}

// weightedMutations are those of the chosen weighted cluster; nil when there is none.
func (e *entry) weightedMutations(r *filter.Route) *mutations {
	if r.Weighted == nil {
		return nil
	}
	for i := range e.weighted {
		if &e.route.Action.Weighted[i] == r.Weighted {
			return &e.weighted[i]
		}
	}
	return nil
}
