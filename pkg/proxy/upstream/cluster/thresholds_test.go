package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestThresholds(t *testing.T) {
	budget := func(v float64) map[string]model.RuntimeValue {
		return map[string]model.RuntimeValue{"circuit_breakers.a.b.high.retry_budget.budget_percent": {Is: model.RuntimeIsDouble, Double: v}}
	}
	for name, tc := range map[string]struct {
		configured model.CircuitBreaker
		runtime    *model.Runtime
		want       model.CircuitBreaker
	}{
		"defaults":    {model.CircuitBreaker{}, nil, model.CircuitBreaker{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3}},
		"configured":  {model.CircuitBreaker{MaxConnections: 1}, model.RuntimeOf(map[string]uint64{"circuit_breakers.a.high.max_connections": 7}), model.CircuitBreaker{MaxConnections: 1}},
		"replaced":    {model.CircuitBreaker{MaxConnections: 1}, model.RuntimeOf(map[string]uint64{"circuit_breakers.a.b.high.max_connections": 7, "circuit_breakers.a.b.high.max_retries": 1 << 40}), model.CircuitBreaker{MaxConnections: 7, MaxRetries: 1<<32 - 1}},
		"budget":      {model.CircuitBreaker{MaxRequests: 1}, model.NewRuntime(budget(120)), model.CircuitBreaker{MaxRequests: 1, RetryBudget: &model.RetryBudget{Percent: 100, MinConcurrency: 3}}},
		"own budget":  {model.CircuitBreaker{RetryBudget: &model.RetryBudget{Percent: 5, MinConcurrency: 9}}, model.NewRuntime(budget(30)), model.CircuitBreaker{RetryBudget: &model.RetryBudget{Percent: 30, MinConcurrency: 9}}},
		"concurrency": {model.CircuitBreaker{MaxRequests: 1}, model.RuntimeOf(map[string]uint64{"circuit_breakers.a.b.high.retry_budget.min_retry_concurrency": 5}), model.CircuitBreaker{MaxRequests: 1, RetryBudget: &model.RetryBudget{Percent: 20, MinConcurrency: 5}}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := static("a.b")
			cfg.Breakers[1] = tc.configured
			if diff := cmp.Diff(tc.want, Thresholds(cfg, 1, tc.runtime)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRuntimeChanged(t *testing.T) {
	runtime := model.NewRuntime(nil)
	h := newHarness(t, func(o *Options) { o.Runtime = runtime })
	cfg := static("web")
	cfg.Breakers[0] = model.CircuitBreaker{MaxRequests: 1}
	h.Apply(snapshot(cfg))
	c := h.Get("web")
	requests := c.core.shared.Requests[0]
	if !requests.Try() || requests.Try() {
		t.Fatal("the configured limit does not hold")
	}
	set := func(values map[string]uint64) { h.RuntimeChanged(runtime.Set(model.RuntimeOf(values).All())) }
	set(map[string]uint64{"circuit_breakers.web.default.max_requests": 2, "circuit_breakers.gone.default.max_requests": 1, "circuit_breakers.odd": 1})
	if !requests.Try() || requests.Try() {
		t.Error("the limit of the runtime does not hold")
	}
	set(nil)
	requests.Release()
	if requests.Try() {
		t.Error("the configured limit does not hold again")
	}
	requests.Release()
}

func TestBalancingByRuntime(t *testing.T) {
	runtime := model.RuntimeOf(map[string]uint64{"upstream.healthy_panic_threshold": 0, "bias": 3, "load_balancing_policy.drop_overload_limit": 0})
	h := newHarness(t, func(o *Options) { o.Runtime = runtime })
	cfg := static("web")
	cfg.PanicThreshold, cfg.LeastRequest = 50, model.LeastRequest{ActiveRequestBias: 1, BiasKey: "bias"}
	cfg.Inline.DropOverloads = []model.DropOverload{{Category: "all", Percent: 100}}
	h.Apply(snapshot(cfg))
	c := h.Get("web")
	if o := c.lbOptions(); o.PanicThreshold != 0 || o.LeastRequest.ActiveRequestBias != 3 {
		t.Errorf("panic threshold %v, bias %v", o.PanicThreshold, o.LeastRequest.ActiveRequestBias)
	}
	if _, drop := c.DropOverload(); drop {
		t.Error("dropped more than the limit")
	}
	runtime.Set(nil)
	if o := c.lbOptions(); o.PanicThreshold != 50 || o.LeastRequest.ActiveRequestBias != 1 {
		t.Errorf("configured: panic threshold %v, bias %v", o.PanicThreshold, o.LeastRequest.ActiveRequestBias)
	}
	if _, drop := c.DropOverload(); !drop {
		t.Error("not dropped")
	}
}
