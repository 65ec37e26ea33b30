package statsd

import (
	"errors"
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	graphitev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/graphite_statsd/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factories describes the sinks of this package: envoy.stat_sinks.statsd, .dog_statsd and .graphite_statsd.
func Factories() []extension.Factory {
	return []extension.Factory{
		{
			Category: extension.StatsSinks, Name: "envoy.stat_sinks.statsd", Aliases: []string{"envoy.statsd"}, Config: &metricsv3.StatsdSink{},
			Decode: func(m proto.Message) (any, error) { return decodeStatsd(m.(*metricsv3.StatsdSink)) },
			Support: map[string]extension.Fields{
				"envoy.config.metrics.v3.StatsdSink": {"address": {}, "tcp_cluster_name": {}, "prefix": {}},
			},
		},
		{
			Category: extension.StatsSinks, Name: "envoy.stat_sinks.dog_statsd", Aliases: []string{"envoy.dog_statsd"}, Config: &metricsv3.DogStatsdSink{},
			Decode: func(m proto.Message) (any, error) { return decodeDog(m.(*metricsv3.DogStatsdSink)) },
			Support: map[string]extension.Fields{
				"envoy.config.metrics.v3.DogStatsdSink": {"address": {}, "prefix": {}, "max_bytes_per_datagram": {}},
			},
		},
		{
			Category: extension.StatsSinks, Name: "envoy.stat_sinks.graphite_statsd", Config: &graphitev3.GraphiteStatsdSink{},
			Decode: func(m proto.Message) (any, error) {
				c, err := decodeDog(m.(*graphitev3.GraphiteStatsdSink))
				if err != nil {
					return nil, err
				}
				c.Graphite = true
				return c, nil
			},
			Support: map[string]extension.Fields{
				"envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink": {"address": {}, "prefix": {}, "max_bytes_per_datagram": {}},
			},
		},
	}
}

func decodeStatsd(m *metricsv3.StatsdSink) (*Config, error) {
	c := &Config{Prefix: prefixOr(m.GetPrefix())}
	switch k := m.GetStatsdSpecifier().(type) {
	case *metricsv3.StatsdSink_TcpClusterName:
		if k.TcpClusterName == "" {
			return nil, errors.New("tcp_cluster_name: must not be empty")
		}
		c.Cluster = k.TcpClusterName
		return c, nil
	case *metricsv3.StatsdSink_Address:
		return c, c.to(k.Address)
	}
	return nil, errors.New("statsd_specifier: address or tcp_cluster_name must be set")
}

// tagged is what the configurations of sinks with tags have in common.
type tagged interface {
	GetPrefix() string
	GetAddress() *corev3.Address
	GetMaxBytesPerDatagram() *wrapperspb.UInt64Value
}

func decodeDog(m tagged) (*Config, error) {
	c := &Config{Prefix: prefixOr(m.GetPrefix()), Tags: true}
	if limit := m.GetMaxBytesPerDatagram(); limit != nil {
		if limit.GetValue() == 0 {
			return nil, errors.New("max_bytes_per_datagram: must be above 0")
		}
		c.MaxDatagram = int(min(limit.GetValue(), maxDatagram))
	}
	if m.GetAddress() == nil {
		return nil, errors.New("an address must be set")
	}
	return c, c.to(m.GetAddress())
}

// prefixOr is Envoy's default where there is none.
func prefixOr(prefix string) string {
	if prefix == "" {
		return "envoy"
	}
	return prefix
}

// to takes the address of the server.
func (c *Config) to(a *corev3.Address) error {
	switch k := a.GetAddress().(type) {
	case *corev3.Address_Pipe:
		c.Network, c.Address = "unixgram", k.Pipe.GetPath()
		return nil
	case *corev3.Address_SocketAddress:
		ip, err := netip.ParseAddr(k.SocketAddress.GetAddress())
		if err != nil {
			return fmt.Errorf("address.socket_address.address: malformed IP address: %s", k.SocketAddress.GetAddress())
		}
		c.Network = "udp"
		c.Address = netip.AddrPortFrom(ip, uint16(k.SocketAddress.GetPortValue())).String()
		return nil
	}
	return errors.New("address: must be a socket_address or a pipe")
}
