package connectionlimit

import (
	"errors"

	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Factory describes the filter: envoy.filters.network.connection_limit.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.NetworkFilters,
		Name:     "envoy.filters.network.connection_limit",
		Config:   &limitv3.ConnectionLimit{},
		Decode:   func(m proto.Message) (any, error) { return decode(m.(*limitv3.ConnectionLimit)) },
		Support: map[string]extension.Fields{
			"envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit": {
				"stat_prefix": {}, "max_connections": {}, "delay": {}, "runtime_enabled": {},
			},
			"envoy.config.core.v3.RuntimeFeatureFlag": {"default_value": {}, "runtime_key": {}},
		},
	}
}

func decode(m *limitv3.ConnectionLimit) (*Config, error) {
	out := &Config{ConnectionLimit: model.ConnectionLimit{
		StatPrefix: m.GetStatPrefix(), MaxConnections: m.GetMaxConnections().GetValue(), Delay: m.GetDelay().AsDuration(),
		Enabled: true, EnabledKey: m.GetRuntimeEnabled().GetRuntimeKey(),
	}}
	if v := m.GetRuntimeEnabled().GetDefaultValue(); v != nil {
		out.Enabled = v.GetValue()
	}
	var errs []error
	if out.StatPrefix == "" {
		errs = append(errs, errors.New("stat_prefix: must not be empty"))
	}
	if out.MaxConnections == 0 {
		errs = append(errs, errors.New("max_connections: must be at least 1"))
	}
	if out.Delay < 0 {
		errs = append(errs, errors.New("delay: must not be negative"))
	}
	return out, errors.Join(errs...)
}
