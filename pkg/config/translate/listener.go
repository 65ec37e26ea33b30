package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"fmt"
	"net"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of listeners.
const (
	defaultBufferLimit           = 1 << 20
	defaultListenerFilterTimeout = 15 * time.Second
	maxBacklog                   = 1<<31 - 1
)

// Listener translates a listener. A listener without a name gets one that follows from its content.
func (t *Translator) Listener(m *listenerv3.Listener, meta Meta) (*model.Listener, []Warning, error) {
	out, warnings, err := t.ListenerParts(m, meta)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
}

// ListenerParts is Listener for checks that go on: when there are errors, it returns what has none beside them.
func (t *Translator) ListenerParts(m *listenerv3.Listener, meta Meta) (*model.Listener, []Warning, error) {
	c := t.begin(m, meta, resourceName("listener", ListenerName(m)))
	out := c.listener(m)
	warnings, err := c.end(m)
	return out, warnings, err
}

// ListenerName is what errors call a listener: its name, or its address when it has none.
func ListenerName(m *listenerv3.Listener) string {
	if m.GetName() != "" {
		return m.GetName()
	}
	if s := m.GetAddress().GetSocketAddress(); s != nil {
		return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
	}
	return m.GetAddress().GetPipe().GetPath()
}

// generatedName is the name of a listener that has none.
func generatedName(hash uint64) string { return fmt.Sprintf("listener-%016x", hash) }

// listenerResource is what errors call a listener that was translated: the same as ListenerName says of its message.
func listenerResource(l *model.Listener) string {
	switch {
	case l.Name != generatedName(l.Hash):
		return resourceName("listener", l.Name)
	case l.Pipe != "":
		return resourceName("listener", l.Pipe)
	}
	return resourceName("listener", l.Address.String())
}

func (c *call) listener(m *listenerv3.Listener) *model.Listener {
	out := &model.Listener{
		Resource:                         c.identity(m.GetName(), m),
		StatPrefix:                       m.GetStatPrefix(),
		BindToPort:                       isSet(m.GetBindToPort(), true),
		UseOriginalDst:                   m.GetUseOriginalDst().GetValue(),
		Transparent:                      m.GetTransparent().GetValue(),
		Freebind:                         m.GetFreebind().GetValue(),
		TCPBacklog:                       int(min(m.GetTcpBacklogSize().GetValue(), maxBacklog)),
		IPv4Compat:                       m.GetAddress().GetSocketAddress().GetIpv4Compat(),
		IgnoreGlobalLimit:                m.GetIgnoreGlobalConnLimit(),
		PerConnectionBufferLimit:         int(u32(m.GetPerConnectionBufferLimitBytes(), defaultBufferLimit)),
		ListenerFiltersTimeout:           c.duration(m.GetListenerFiltersTimeout(), defaultListenerFilterTimeout, nil, "listener_filters_timeout"),
		DrainModifyOnly:                  m.GetDrainType() == listenerv3.Listener_MODIFY_ONLY,
		ContinueOnListenerFiltersTimeout: m.GetContinueOnListenerFiltersTimeout(),
		AccessLogs:                       c.accessLogs(m.GetAccessLog(), nil, "access_log"),
	}
	if out.Name == "" {
		out.Name = generatedName(out.Hash)
	}
	switch m.GetTrafficDirection() {
	case corev3.TrafficDirection_INBOUND:
		out.TrafficDirection = model.TrafficInbound
	case corev3.TrafficDirection_OUTBOUND:
		out.TrafficDirection = model.TrafficOutbound
	}
	if v1 := m.GetDeprecatedV1(); v1.GetBindToPort() != nil && m.GetBindToPort() == nil {
		out.BindToPort = v1.GetBindToPort().GetValue()
	}
	c.listenerKind(m)
	c.listenerAddresses(m, out)
	if c.udpListener(m, out); out.UDP == nil {
		out.ListenerFilters = c.listenerFilters(m.GetListenerFilters())
		c.filterChains(m, out)
	}
	return out
}

// listenerKind refuses what is neither a listener of TCP nor one of UDP.
func (c *call) listenerKind(m *listenerv3.Listener) {
	var root *path
	if m.GetApiListener() != nil {
		c.unsupported(root.field("api_listener"))
	}
	if m.GetInternalListener() != nil {
		c.unsupported(root.field("internal_listener"))
	}
	if m.GetFilterChainMatcher() != nil {
		c.unsupported(root.field("filter_chain_matcher"))
	}
	if m.GetFcdsConfig() != nil {
		c.unsupported(root.field("fcds_config"))
	}
}

// listenerAddresses translates where the listener listens.
func (c *call) listenerAddresses(m *listenerv3.Listener, out *model.Listener) {
	var root *path
	at := root.field("address")
	switch a := m.GetAddress().GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		out.Address, _ = c.listenerAddress(a.SocketAddress, at.field("socket_address"))
	case *corev3.Address_Pipe:
		out.Pipe, out.PipeMode = a.Pipe.GetPath(), a.Pipe.GetMode()
	case *corev3.Address_EnvoyInternalAddress:
		c.unsupported(at.field("envoy_internal_address"))
	default:
		if m.GetApiListener() == nil && m.GetInternalListener() == nil {
			c.fail(at, "an address must be set")
		}
	}
	options := c.listenerOptions(m)
	out.SocketOptions = options.all(options.own, m.GetTcpKeepalive())
	var additional [][]model.SocketOption
	for i, a := range m.GetAdditionalAddresses() {
		elem := root.elem("additional_addresses", i)
		s := a.GetAddress().GetSocketAddress()
		if s == nil {
			c.fail(elem.field("address"), "only socket addresses are supported")
			continue
		}
		if ip, ok := c.listenerAddress(s, elem.field("address").field("socket_address")); ok {
			out.AdditionalAddresses = append(out.AdditionalAddresses, ip)
			additional = append(additional, c.additional(&options, a, elem))
		}
	}
	if options.some {
		out.AdditionalSocketOptions = additional
	}
}
