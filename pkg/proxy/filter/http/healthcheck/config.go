package healthcheck

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
)

// Factory describes the filter: envoy.filters.http.health_check.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.HTTPFilters,
		Name:     "envoy.filters.http.health_check",
		Aliases:  []string{"envoy.health_check"},
		Config:   &healthv3.HealthCheck{},
		Decode:   func(m proto.Message) (any, error) { return decodeConfig(m.(*healthv3.HealthCheck)) },
		Review:   func(m proto.Message) []extension.Finding { return review(m.(*healthv3.HealthCheck)) },
		Support: map[string]extension.Fields{"envoy.extensions.filters.http.health_check.v3.HealthCheck": {
			"pass_through_mode": {}, "cache_time": {}, "cluster_min_healthy_percentages": {}, "headers": {},
		}},
	}
}

func decodeConfig(m *healthv3.HealthCheck) (*Config, error) {
	if m.GetPassThroughMode() == nil {
		return nil, errors.New("pass_through_mode: must be set")
	}
	c := &Config{PassThrough: m.GetPassThroughMode().GetValue(), CacheTime: m.GetCacheTime().AsDuration()}
	var errs []error
	var err error
	if m.GetCacheTime() != nil {
		if err := m.GetCacheTime().CheckValid(); err != nil || c.CacheTime < 0 {
			errs = append(errs, fmt.Errorf("cache_time: %v is not a duration", m.GetCacheTime()))
		}
	}
	if c.CacheTime > 0 && !c.PassThrough {
		errs = append(errs, errors.New("cache_time: must not be set when pass_through_mode is disabled"))
	}
	if c.Headers, err = decode.HeaderMatchers("headers", m.GetHeaders()); err != nil {
		errs = append(errs, err)
	}
	percentages := m.GetClusterMinHealthyPercentages()
	for _, name := range slices.Sorted(maps.Keys(percentages)) {
		p := percentages[name].GetValue()
		if !(p >= 0 && p <= 100) {
			errs = append(errs, fmt.Errorf("cluster_min_healthy_percentages[%q]: %v is not a percentage", name, p))
			continue
		}
		c.MinHealthy = append(c.MinHealthy, MinHealthy{Cluster: name, Percent: uint64(p)})
	}
	return c, errors.Join(errs...)
}

// review tells of percentages that nothing asks for.
func review(m *healthv3.HealthCheck) []extension.Finding {
	if !m.GetPassThroughMode().GetValue() || len(m.GetClusterMinHealthyPercentages()) == 0 {
		return nil
	}
	return []extension.Finding{{
		Path: "cluster_min_healthy_percentages", Reason: "has no effect while pass_through_mode is true: the upstream answers, as in Envoy",
	}}
}
