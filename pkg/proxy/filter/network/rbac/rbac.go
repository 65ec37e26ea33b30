// Package rbac is the network filter envoy.filters.network.rbac: it closes connections that its rules or matcher deny.
//
// It owns what happens to a connection that is denied, the statistics <stat_prefix>.rbac.* and the metadata of shadow rules. It must
// not know what rules mean (pkg/proxy/rbac). Connections are judged as soon as TLS is terminated, before the last filter of the chain
// does anything: Envoy waits for the client's first byte, until which a server that speaks first is heard. A Filter is immutable and
// shared by the connections of its chain.
package rbac

import (
	"context"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	engine "github.com/weir-proxy/weir/pkg/proxy/rbac"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// metadataName is the namespace of the dynamic metadata that shadow rules leave.
const metadataName = "envoy.filters.network.rbac"

// Config is the decoded configuration.
type Config struct {
	RBAC model.NetworkRBAC
	// Enforced and Shadow are nil when there is nothing to evaluate.
	Enforced, Shadow *engine.Engine
	// ShadowKeys goes before the keys of metadata, as configured.
	ShadowKeys string
}

// Policy is what the configuration says, but for matchers: for whoever decides in place of the filter.
func (c *Config) Policy() *model.NetworkRBAC { return &c.RBAC }

// NewNonTerminal implements filter.NonTerminalBuilder.
func (c *Config) NewNonTerminal(d filter.NetworkDeps) (filter.NonTerminal, error) {
	f := &Filter{cfg: c, scope: d.Stats.Scope(c.RBAC.StatPrefix + ".rbac")}
	f.allowed, f.denied = f.scope.Counter("allowed"), f.scope.Counter("denied")
	if r := c.RBAC.Rules; r != nil && r.Action == model.RBACLog {
		f.logged, f.notLogged = f.scope.Counter("logged"), f.scope.Counter("not_logged")
	}
	f.shadowScope = f.scope
	if p := c.RBAC.ShadowStatPrefix; p != "" {
		f.shadowScope = d.Stats.Scope(c.RBAC.StatPrefix + ".rbac." + p)
	}
	f.shadowAllowed, f.shadowDenied = f.shadowScope.Counter("shadow_allowed"), f.shadowScope.Counter("shadow_denied")
	f.data.New = func() any {
		e := &evaluation{}
		e.data = matcher.Data{Info: &e.info, Runtime: d.Runtime}
		return e
	}
	return f, nil
}

// Filter judges the connections of a filter chain.
type Filter struct {
	cfg                         *Config
	scope, shadowScope          *stats.Scope
	allowed, denied             *stats.Counter
	shadowAllowed, shadowDenied *stats.Counter
	logged, notLogged           *stats.Counter // nil unless the action of the rules is LOG
	data                        sync.Pool      // of *evaluation
}

// evaluation is what an engine is asked about.
type evaluation struct {
	data matcher.Data
	info streaminfo.Info
}

var (
	_ filter.NonTerminal        = (*Filter)(nil)
	_ filter.NonTerminalBuilder = (*Config)(nil)
)

// Close releases the statistics, after the last connection.
func (f *Filter) Close() error {
	f.scope.Close()
	if f.shadowScope != f.scope {
		f.shadowScope.Close()
	}
	return nil
}

// Accept implements filter.NonTerminal.
func (f *Filter) Accept(context.Context, *filter.Connection) (state any, ok bool) { return nil, true }

// Begin implements filter.NonTerminal.
func (f *Filter) Begin(ctx context.Context, c *filter.Connection, _ any) bool {
	if !f.allows(c.Info) {
		if d := f.cfg.RBAC.DelayDeny; d > 0 {
			c.Hold(ctx, d)
		}
		return false
	}
	if f.cfg.RBAC.Continuous && (f.cfg.Enforced != nil || f.cfg.Shadow != nil) {
		c.Conn = &judged{Conn: c.Conn, f: f, c: c}
	}
	return true
}

// End implements filter.NonTerminal.
func (f *Filter) End(*filter.Connection, any) {}

// allows judges the connection, counts, and leaves what access logs show.
func (f *Filter) allows(info *streaminfo.Connection) bool {
	e := f.data.Get().(*evaluation)
	defer f.release(e)
	e.info.Conn, e.info.Dynamic = info, info.Dynamic
	if f.cfg.Shadow != nil {
		f.shadowed(info, f.cfg.Shadow.Evaluate(&e.data))
		e.info.Dynamic = info.Dynamic
	}
	if f.cfg.Enforced == nil {
		return true
	}
	r := f.cfg.Enforced.Evaluate(&e.data)
	if r.Logs {
		f.hint(info, r.Logged)
	}
	if r.Allowed {
		f.allowed.Inc()
		return true
	}
	f.denied.Inc()
	info.TerminationDetails = engine.DenialDetails(r.Policy)
	return false
}

func (f *Filter) release(e *evaluation) {
	e.info.Conn, e.info.Dynamic = nil, nil
	f.data.Put(e)
}

// shadowed notes what shadow rules would have done.
func (f *Filter) shadowed(info *streaminfo.Connection, r engine.Result) {
	result := "allowed"
	if r.Allowed {
		f.shadowAllowed.Inc()
	} else {
		result = "denied"
		f.shadowDenied.Inc()
	}
	values := map[string]any{f.cfg.ShadowKeys + engine.ShadowResultKey: result}
	if r.Policy != "" {
		values[f.cfg.ShadowKeys+engine.ShadowPolicyKey] = r.Policy
	}
	info.SetDynamic(metadataName, values)
}

// hint tells access logs whether the connection is to be logged.
func (f *Filter) hint(info *streaminfo.Connection, logged bool) {
	if f.logged != nil {
		if logged {
			f.logged.Inc()
		} else {
			f.notLogged.Inc()
		}
	}
	info.SetDynamic(engine.LogNamespace, map[string]any{engine.LogKey: logged})
}
