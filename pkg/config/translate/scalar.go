package translate

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// duration returns d, or fallback when d is not set. Durations that Go or Envoy cannot hold are errors.
func (c *call) duration(d *durationpb.Duration, fallback time.Duration, p *path, name string) time.Duration {
	if d == nil {
		return fallback
	}
	switch {
	case d.CheckValid() != nil:
		c.fail(p.field(name), "%v", d.CheckValid())
	case d.GetSeconds() < 0 || d.GetNanos() < 0:
		c.fail(p.field(name), "duration %v is negative", d.AsDuration())
	default:
		return d.AsDuration()
	}
	return fallback
}

// u32 returns v, or fallback when v is not set.
func u32(v *wrapperspb.UInt32Value, fallback uint32) uint32 {
	if v == nil {
		return fallback
	}
	return v.GetValue()
}

// isSet returns v, or fallback when v is not set.
func isSet(v *wrapperspb.BoolValue, fallback bool) bool {
	if v == nil {
		return fallback
	}
	return v.GetValue()
}

// port returns v as a port.
func (c *call) port(v uint32, p *path) uint16 {
	if v > 65535 {
		c.fail(p, "port %d is above 65535", v)
		return 0
	}
	return uint16(v)
}

// prefix returns r as a prefix with the host bits cleared.
func (c *call) prefix(r *corev3.CidrRange, p *path) (netip.Prefix, bool) {
	addr, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil {
		c.fail(p.field("address_prefix"), "malformed IP address %q", r.GetAddressPrefix())
		return netip.Prefix{}, false
	}
	prefix, err := addr.Unmap().WithZone("").Prefix(int(min(r.GetPrefixLen().GetValue(), 1000)))
	if err != nil {
		c.fail(p.field("prefix_len"), "prefix length %d is too long for %s", r.GetPrefixLen().GetValue(), addr)
		return netip.Prefix{}, false
	}
	return prefix, true
}

func (c *call) prefixes(list []*corev3.CidrRange, p *path, name string) []netip.Prefix {
	var out []netip.Prefix
	for i, r := range list {
		if pre, ok := c.prefix(r, p.elem(name, i)); ok {
			out = append(out, pre)
		}
	}
	return out
}

// hostPort is a socket address before it is known whether its host is a name.
type hostPort struct {
	// IP is set when the configured address is one; otherwise Host is a name that DNS resolves.
	IP   netip.Addr
	Host string
	Port uint16
}

// addrPort returns the address when it is an IP.
func (a hostPort) addrPort() netip.AddrPort { return netip.AddrPortFrom(a.IP, a.Port) }

// socketAddress translates a TCP address. Anything else is an error.
func (c *call) socketAddress(s *corev3.SocketAddress, p *path) (hostPort, bool) {
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		c.unsupported(p.field("protocol"))
		return hostPort{}, false
	}
	return c.anyAddress(s, p)
}

// anyAddress translates an address of either protocol: hosts are sent what those who send want, connections or datagrams.
func (c *call) anyAddress(s *corev3.SocketAddress, p *path) (hostPort, bool) {
	ok := true
	if s.GetResolverName() != "" {
		c.unsupported(p.field("resolver_name"))
		ok = false
	}
	if s.GetNetworkNamespaceFilepath() != "" {
		c.unsupported(p.field("network_namespace_filepath"))
		ok = false
	}
	if _, named := s.GetPortSpecifier().(*corev3.SocketAddress_NamedPort); named {
		c.unsupported(p.field("named_port"))
		ok = false
	}
	a := hostPort{Host: s.GetAddress(), Port: c.port(s.GetPortValue(), p.field("port_value"))}
	if ip, err := netip.ParseAddr(s.GetAddress()); err == nil {
		a.IP, a.Host = ip.Unmap(), ""
	}
	return a, ok
}

// plainAddress is socketAddress for the commonest case, an IP address and a port of TCP and nothing else: hundreds of thousands
// of endpoints are such, and need no path to report from. false means that socketAddress has to look.
func plainAddress(s *corev3.SocketAddress) (netip.AddrPort, bool) {
	port, numbered := s.GetPortSpecifier().(*corev3.SocketAddress_PortValue)
	if !numbered || port.PortValue > 65535 || s.GetProtocol() != corev3.SocketAddress_TCP || s.GetResolverName() != "" ||
		s.GetNetworkNamespaceFilepath() != "" {
		return netip.AddrPort{}, false
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	return netip.AddrPortFrom(ip.Unmap(), uint16(port.PortValue)), err == nil
}

// ipAddress translates a TCP address that must be an IP.
func (c *call) ipAddress(s *corev3.SocketAddress, p *path) (netip.AddrPort, bool) {
	a, ok := c.socketAddress(s, p)
	if ok && !a.IP.IsValid() {
		c.fail(p.field("address"), "malformed IP address: %s", s.GetAddress())
		return netip.AddrPort{}, false
	}
	return a.addrPort(), ok
}

// listenerAddress translates an address of either protocol whose host is an IP address.
func (c *call) listenerAddress(s *corev3.SocketAddress, p *path) (netip.AddrPort, bool) {
	a, ok := c.anyAddress(s, p)
	if ok && !a.IP.IsValid() {
		c.fail(p.field("address"), "malformed IP address: %s", s.GetAddress())
		return netip.AddrPort{}, false
	}
	return a.addrPort(), ok
}

// metadata turns core.v3.Metadata into plain Go values.
func metadata(m *corev3.Metadata) map[string]map[string]any {
	if len(m.GetFilterMetadata()) == 0 {
		return nil
	}
	out := make(map[string]map[string]any, len(m.GetFilterMetadata()))
	for name, s := range m.GetFilterMetadata() {
		out[name] = plain(s)
	}
	return out
}

// plain turns a Struct into plain Go values; an empty one into an empty map. Values that are nested deeper than maxDepth
// are dropped.
func plain(s *structpb.Struct) map[string]any { return plainStruct(s, 0) }

func plainStruct(s *structpb.Struct, depth int) map[string]any {
	out := make(map[string]any, len(s.GetFields()))
	if depth > maxDepth {
		return out
	}
	for k, v := range s.GetFields() {
		out[k] = plainValue(v, depth)
	}
	return out
}

func plainValue(v *structpb.Value, depth int) any {
	switch k := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		return k.NumberValue
	case *structpb.Value_StringValue:
		return k.StringValue
	case *structpb.Value_BoolValue:
		return k.BoolValue
	case *structpb.Value_StructValue:
		return plainStruct(k.StructValue, depth+1)
	case *structpb.Value_ListValue:
		list := make([]any, 0, len(k.ListValue.GetValues()))
		if depth > maxDepth {
			return list
		}
		for _, e := range k.ListValue.GetValues() {
			list = append(list, plainValue(e, depth+1))
		}
		return list
	}
	return nil
}

// denominator is the number that a FractionalPercent is a share of.
func denominator(d typev3.FractionalPercent_DenominatorType) uint32 {
	switch d {
	case typev3.FractionalPercent_TEN_THOUSAND:
		return 10_000
	case typev3.FractionalPercent_MILLION:
		return 1_000_000
	default:
		return 100
	}
}

// fraction translates a RuntimeFractionalPercent; nil stays nil.
func fraction(f *corev3.RuntimeFractionalPercent) *model.Fraction {
	if f == nil {
		return nil
	}
	return &model.Fraction{
		Numerator:   f.GetDefaultValue().GetNumerator(),
		Denominator: denominator(f.GetDefaultValue().GetDenominator()),
		RuntimeKey:  f.GetRuntimeKey(),
	}
}

// lower is strings.ToLower over a list.
func lower(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ToLower(s)
	}
	return out
}
