package ondemand

import (
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// defaultTimeout of an on-demand cluster lookup (envoy.extensions.filters.http.on_demand.v3.OnDemandCds).
const defaultTimeout = 5 * time.Second

// Factory describes the filter: envoy.filters.http.on_demand.
func Factory() extension.Factory {
	const pkg = "envoy.extensions.filters.http.on_demand.v3."
	return extension.Factory{
		Category: extension.HTTPFilters,
		Name:     "envoy.filters.http.on_demand",
		Config:   &ondemandv3.OnDemand{},
		Decode:   func(m proto.Message) (any, error) { return decode(m.(*ondemandv3.OnDemand).GetOdcds()) },
		PerRoute: &ondemandv3.PerRouteConfig{},
		DecodePerRoute: func(m proto.Message) (any, error) {
			return decode(m.(*ondemandv3.PerRouteConfig).GetOdcds())
		},
		Support: map[string]extension.Fields{
			pkg + "OnDemand":       {"odcds": {}},
			pkg + "PerRouteConfig": {"odcds": {}},
			pkg + "OnDemandCds":    {"source": {}, "timeout": {}},
		},
	}
}

func decode(m *ondemandv3.OnDemandCds) (*Config, error) {
	c := &Config{}
	if m == nil {
		return c, nil
	}
	c.Clusters = &Clusters{Timeout: defaultTimeout, source: m.GetSource()}
	if d := m.GetTimeout(); d != nil {
		if err := d.CheckValid(); err != nil || d.AsDuration() < 0 {
			return nil, fmt.Errorf("odcds.timeout: must not be negative, is %s", d)
		}
		c.Clusters.Timeout = d.AsDuration()
	}
	return c, nil
}

// ReadSources has the translator read where clusters come from.
func (c *Config) ReadSources(read func(m *corev3.ConfigSource, fields ...string) *model.Source) {
	if c.Clusters != nil {
		c.Clusters.Source, c.Clusters.source = read(c.Clusters.source, "odcds", "source"), nil
	}
}
