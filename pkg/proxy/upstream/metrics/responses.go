package metrics

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Responses counts responses by code and class below one scope: upstream_rq_completed, upstream_rq_<class>xx,
// upstream_rq_<code> and the histogram upstream_rq_time, and the same below canary, internal and external. As in Envoy a
// name appears with its first use.
type Responses struct {
	scope *stats.Scope
	self  codes
	tree  [treeCount]atomic.Pointer[Responses]
}

// Trees below a scope.
const (
	treeCanary = iota
	treeInternal
	treeExternal
	treeCount
)

// NewResponses counts below a scope, such as that of a virtual cluster. The scope stays the caller's.
func NewResponses(scope *stats.Scope) *Responses { return &Responses{scope: scope} }

// RecordResponse counts a response with a status of 100 to 599 that took d; canary counts it under canary too. Any other
// code counts as completed only.
func (r *Responses) RecordResponse(code int, d time.Duration, canary bool) {
	r.self.record(r.scope, code, d)
	if canary {
		r.below(treeCanary).RecordResponse(code, d, false)
	}
}

// RecordOrigin counts a response under internal or external, by who asked.
func (r *Responses) RecordOrigin(code int, d time.Duration, internal bool) {
	tree := treeExternal
	if internal {
		tree = treeInternal
	}
	r.below(tree).RecordResponse(code, d, false)
}

func (r *Responses) below(tree int) *Responses {
	if sub := r.tree[tree].Load(); sub != nil {
		return sub
	}
	name := [treeCount]string{treeCanary: "canary", treeInternal: "internal", treeExternal: "external"}[tree]
	sub := NewResponses(r.scope.Scope(name))
	if !r.tree[tree].CompareAndSwap(nil, sub) {
		sub.scope.Close()
	}
	return r.tree[tree].Load()
}

// codes are the counters of one scope, made when first needed: a hundred per class that occurred.
type codes struct {
	completed atomic.Pointer[stats.Counter]
	time      atomic.Pointer[stats.Histogram]
	class     [6]atomic.Pointer[stats.Counter]
	code      [6]atomic.Pointer[[100]atomic.Pointer[stats.Counter]]
}

func (c *codes) record(scope *stats.Scope, code int, d time.Duration) {
	counter(&c.completed, scope, "upstream_rq_completed", 0, "").Inc()
	h := c.time.Load()
	if h == nil {
		h = scope.Histogram("upstream_rq_time", stats.Milliseconds)
		c.time.Store(h)
	}
	h.Record(uint64(max(d, 0) / time.Millisecond))
	if code < 100 || code > 599 {
		return
	}
	class := code / 100
	counter(&c.class[class], scope, "upstream_rq_", class, "xx").Inc()
	page := c.code[class].Load()
	if page == nil {
		c.code[class].CompareAndSwap(nil, new([100]atomic.Pointer[stats.Counter]))
		page = c.code[class].Load()
	}
	counter(&page[code%100], scope, "upstream_rq_", code, "").Inc()
}

// counter returns what at holds, or looks prefix + number + suffix up; number 0 is left out.
func counter(at *atomic.Pointer[stats.Counter], scope *stats.Scope, prefix string, number int, suffix string) *stats.Counter {
	if c := at.Load(); c != nil {
		return c
	}
	name := prefix + suffix
	if number != 0 {
		name = prefix + strconv.Itoa(number) + suffix
	}
	c := scope.Counter(name)
	at.Store(c)
	return c
}
