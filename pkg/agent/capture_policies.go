package agent

import (
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// beforeCounts adds what the kernel counted in place of the filters in front of a TCP proxy to their statistics. services.mu
// guards it.
type beforeCounts struct {
	// limit is the scope of a connection_limit filter, nil without one.
	limit   *stats.Scope
	active  *stats.Gauge
	limited *stats.Counter
	// rules are the counters of rbac filters, by their scope, and names those of this configuration.
	rules map[string]*ruleCounts
}

// ruleCounts are the statistics of one scope of rbac filters, <stat_prefix>.rbac.
type ruleCounts struct {
	scope *stats.Scope
	last  [2]intercept.PolicyStats // enforced, shadow
}

// serve counts for a spec from now on; connections are those that there are.
func (b *beforeCounts) serve(root *stats.Scope, spec *steer.Spec, connections uint64) {
	admission, _ := steer.AdmissionOf(spec.Chain) // what is kept in user space is not served
	was := *b
	b.limit, b.active, b.limited = nil, nil, nil
	if l := admission.Limit; l != nil {
		b.limit = root.Scope("connection_limit." + l.StatPrefix)
		b.active, b.limited = b.limit.Gauge("active_connections"), b.limit.Counter("limited_connections")
		b.active.Add(int64(connections))
	}
	was.closeLimit(connections)
}

func (b *beforeCounts) closeLimit(connections uint64) {
	if b.limit != nil {
		b.active.Add(-int64(connections))
		b.limit.Close()
	}
}

// close gives the statistics up.
func (b *beforeCounts) close(connections uint64) {
	b.closeLimit(connections)
	b.limit = nil
	for _, r := range b.rules {
		r.scope.Close()
	}
	b.rules = nil
}

// count adds what came since last, and returns how many connections the filters refused.
func (b *beforeCounts) count(root *stats.Scope, last, now *intercept.ServiceStats) (refused uint64) {
	limited := later(last.Limited, now.Limited)
	if b.limit != nil {
		b.limited.Add(limited)
		b.active.Add(int64(now.Active) - int64(last.Active))
	}
	for i := range now.Policies {
		b.countRules(root, &now.Policies[i])
	}
	return limited + later(last.Denied, now.Denied)
}

func (b *beforeCounts) countRules(root *stats.Scope, now *intercept.PolicyStats) {
	r := b.rules[now.Stat]
	if r == nil {
		r = &ruleCounts{scope: root.Scope(now.Stat)}
		if b.rules == nil {
			b.rules = make(map[string]*ruleCounts)
		}
		b.rules[now.Stat] = r
	}
	last, prefix := &r.last[0], ""
	if now.Shadow {
		last, prefix = &r.last[1], "shadow_"
	}
	add := func(name string, before, after uint64) {
		if n := later(before, after); n > 0 {
			r.scope.Counter(prefix + name).Add(n)
		}
	}
	add("allowed", last.Allowed, now.Allowed)
	add("denied", last.Denied, now.Denied)
	if !now.Shadow {
		add("logged", last.Logged, now.Logged)
		add("not_logged", last.NotLogged, now.NotLogged)
	}
	*last = *now
}
