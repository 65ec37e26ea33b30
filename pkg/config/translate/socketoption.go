package translate

import (
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// socketOptions translates the options of a stream socket that listens.
func (c *call) socketOptions(list []*corev3.SocketOption, at *path) []SocketOption {
	var out []SocketOption
	for i, m := range list {
		p := at.elem("socket_options", i)
		if t := m.GetType(); t.GetDatagram() != nil && t.GetStream() == nil {
			continue // for another type of socket
		}
		if m.GetLevel() < 0 || m.GetLevel() > math.MaxInt32 {
			c.fail(p.field("level"), "%d is no level of socket options", m.GetLevel())
			continue
		}
		if m.GetName() < 0 || m.GetName() > math.MaxInt32 {
			c.fail(p.field("name"), "%d is no socket option", m.GetName())
			continue
		}
		o := SocketOption{
			Level: int(m.GetLevel()), Name: int(m.GetName()), Late: m.GetState() != corev3.SocketOption_STATE_PREBIND,
			IPv4Only: m.GetIpVersion() == corev3.SocketOption_SOCKET_IP_VERSION_IPV4,
			IPv6Only: m.GetIpVersion() == corev3.SocketOption_SOCKET_IP_VERSION_IPV6,
		}
		switch v := m.GetValue().(type) {
		case *corev3.SocketOption_IntValue:
			if v.IntValue < math.MinInt32 || v.IntValue > math.MaxInt32 {
				c.fail(p.field("int_value"), "%d does not fit the kernel's int", v.IntValue)
				continue
			}
			o.Int = int(v.IntValue)
		case *corev3.SocketOption_BufValue:
			o.Bytes = append([]byte{}, v.BufValue...)
		default:
			c.fail(p, "there is neither int_value nor buf_value")
			continue
		}
		out = append(out, o)
	}
	return out
}
