package explain

import (
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter/network/connectionlimit"
	"github.com/weir-proxy/weir/pkg/proxy/filter/network/rbac"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	engine "github.com/weir-proxy/weir/pkg/proxy/rbac"
)

// admitted asks the filters in front of a chain's last one; false when one of them closes the connection.
func (w *walk) admitted(list []*model.NetworkFilter) bool {
	for _, f := range list {
		name, config := f.Name, f.Config
		if f.Discovery != nil {
			c, from := w.discovered(name, f.Discovery)
			name += " (" + from + ")"
			if c == nil {
				w.step("filter", name)
				w.closed("its network filter " + f.Name + " has no configuration")
				return false
			}
			config = c.Config
		}
		s := w.step("filter", name)
		switch cfg := config.(type) {
		case *rbac.Config:
			if !w.authorized(s, f.Name, cfg) {
				return false
			}
		case *connectionlimit.Config:
			s.detail("limit", "%d connections", cfg.MaxConnections)
			s.note("Whether the limit is reached is not part of the question.")
		default:
			s.note("What this filter does is unknown to explain; it is assumed to let the connection pass.")
		}
	}
	return true
}

// authorized evaluates the rules of a filter.
func (w *walk) authorized(s *Step, name string, cfg *rbac.Config) bool {
	d := &matcher.Data{Info: w.info()}
	evaluate := func(what string, e *engine.Engine) bool {
		if e == nil {
			return true
		}
		r := e.Evaluate(d)
		policy, verdict := "no policy matches", "denies"
		if r.Policy != "" {
			policy = "policy " + r.Policy + " matches"
		}
		if r.Allowed {
			verdict = "allows"
		}
		s.detail(what, "%s: %s", verdict, policy)
		return r.Allowed
	}
	evaluate("shadow rules", cfg.Shadow)
	if evaluate("rules", cfg.Enforced) {
		return true
	}
	w.closed("its network filter " + name + " denies it")
	return false
}
