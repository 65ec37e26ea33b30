package cluster

import (
	"math"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// priorities are the names of the priorities in statistics and runtime keys.
var priorities = [...]string{"default", "high"}

// Envoy's retry budget where only the runtime asks for one.
const (
	defaultBudgetPercent  = 20
	defaultMinConcurrency = 3
)

// Thresholds are those of a priority, with what the runtime says in their place: circuit_breakers.<cluster>.<priority>.<threshold>.
// priority is 0 for the default one and 1 for the high one.
func Thresholds(cfg *model.Cluster, priority int, runtime *model.Runtime) model.CircuitBreaker {
	b := cfg.Breakers[priority]
	if b == (model.CircuitBreaker{}) {
		// Thresholds that say nothing at all are absent ones, which have Envoy's defaults.
		b = model.CircuitBreaker{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3}
	}
	if !runtime.Knows(model.RuntimeFamilyBreakers) {
		return b
	}
	prefix := model.RuntimeBreakers + cfg.Name + "." + priorities[priority] + "."
	for name, limit := range map[string]*uint32{
		"max_connections": &b.MaxConnections, "max_pending_requests": &b.MaxPendingRequests, "max_requests": &b.MaxRequests,
		"max_retries": &b.MaxRetries, "max_connection_pools": &b.MaxConnectionPools,
	} {
		if n, ok := runtime.Number(prefix + name); ok {
			*limit = uint32(min(n, math.MaxUint32))
		}
	}
	percent, hasPercent := runtime.Double(prefix + "retry_budget.budget_percent")
	least, hasLeast := runtime.Number(prefix + "retry_budget.min_retry_concurrency")
	if hasPercent || hasLeast {
		budget := model.RetryBudget{Percent: defaultBudgetPercent, MinConcurrency: defaultMinConcurrency}
		if b.RetryBudget != nil {
			budget = *b.RetryBudget
		}
		if hasPercent {
			budget.Percent = min(max(percent, 0), 100)
		}
		if hasLeast {
			budget.MinConcurrency = uint32(min(least, math.MaxUint32))
		}
		b.RetryBudget = &budget
	}
	return b
}

// RuntimeChanged applies the circuit breaker thresholds among runtime keys whose value has changed.
func (m *Manager) RuntimeChanged(keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := map[string]bool{}
	for _, key := range keys {
		rest, ok := strings.CutPrefix(key, model.RuntimeBreakers)
		if !ok {
			continue
		}
		for _, p := range priorities {
			at := strings.LastIndex(rest, "."+p+".")
			if at < 0 || done[rest[:at]] {
				continue
			}
			name := rest[:at]
			done[name] = true
			if c := m.Get(name); c != nil {
				c.core.configure(c.cfg, m.opt.Runtime)
				m.opt.Changed(name)
			}
		}
	}
}

// panicThreshold is the percentage of available hosts below which health is ignored. As in Envoy it is looked at whenever the
// hosts change.
func (c *Cluster) panicThreshold() float64 {
	if n, ok := c.manager.opt.Runtime.Number(model.RuntimePanicThreshold); ok {
		return float64(min(n, 100))
	}
	return c.cfg.PanicThreshold
}

// aggression asks the runtime for that of slow start; nil where there is nothing to ask for.
func (c *Cluster) aggression() func() (float64, bool) {
	key := c.cfg.SlowStart.AggressionKey
	if key == "" {
		return nil
	}
	return func() (float64, bool) { return c.manager.opt.Runtime.Double(key) }
}

// leastRequest is the options of the least request balancer, likewise.
func (c *Cluster) leastRequest() model.LeastRequest {
	o := c.cfg.LeastRequest
	if o.BiasKey != "" {
		if bias, ok := c.manager.opt.Runtime.Double(o.BiasKey); ok && bias >= 0 {
			o.ActiveRequestBias = bias
		}
	}
	return o
}
