package translate

import (
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// socketOptions translates the options of a socket, of datagrams or else of a stream.
func (c *call) socketOptions(list []*corev3.SocketOption, at *path, datagram bool) []model.SocketOption {
	var out []model.SocketOption
	for i, m := range list {
		p := at.elem("socket_options", i)
		if !ofType(m.GetType(), datagram) {
			continue
		}
		if m.GetLevel() < 0 || m.GetLevel() > math.MaxInt32 {
			c.fail(p.field("level"), "%d is no level of socket options", m.GetLevel())
			continue
		}
		if m.GetName() < 0 || m.GetName() > math.MaxInt32 {
			c.fail(p.field("name"), "%d is no socket option", m.GetName())
			continue
		}
		o := model.SocketOption{
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

// ofType tells whether an option is for a type of sockets; one that names none is for all.
func ofType(t *corev3.SocketOption_SocketType, datagram bool) bool {
	if t.GetStream() == nil && t.GetDatagram() == nil {
		return true
	}
	if datagram {
		return t.GetDatagram() != nil
	}
	return t.GetStream() != nil
}

// listenerOptions are what sets the options of a listener's sockets.
type listenerOptions struct {
	m    *listenerv3.Listener
	own  []model.SocketOption // socket_options
	tcp  bool                 // not a socket of datagrams
	some bool                 // an additional address has its own
}

func (c *call) listenerOptions(m *listenerv3.Listener) listenerOptions {
	tcp := !isUDP(m)
	return listenerOptions{m: m, own: c.socketOptions(m.GetSocketOptions(), nil, !tcp), tcp: tcp}
}

// all are the options of a socket in Envoy's order: what has fields of its own can be replaced by socket_options, except for the queue
// of TCP Fast Open.
func (l *listenerOptions) all(own []model.SocketOption, keepalive *corev3.TcpKeepalive) []model.SocketOption {
	if !l.tcp || l.m.GetAddress().GetPipe() != nil {
		return own
	}
	out := append(keepaliveOptions(keepalive), own...)
	if n := l.m.GetTcpFastOpenQueueLength(); n != nil {
		out = append(out, model.SocketOption{Level: unix.IPPROTO_TCP, Name: unix.TCP_FASTOPEN, Int: int(min(n.GetValue(), math.MaxInt32)), Late: true})
	}
	return out
}

// additional are the options of an additional address, which at leads to.
func (c *call) additional(l *listenerOptions, a *listenerv3.AdditionalAddress, at *path) []model.SocketOption {
	own, keepalive := l.own, l.m.GetTcpKeepalive()
	if o := a.GetSocketOptions(); o != nil {
		own, l.some = c.socketOptions(o.GetSocketOptions(), at.field("socket_options"), !l.tcp), true
	}
	if k := a.GetTcpKeepalive(); k != nil {
		keepalive, l.some = k, true
	}
	return l.all(own, keepalive)
}

// keepaliveOptions are the options that switch keep-alive on; none when it is not configured, or disabled by a 0.
func keepaliveOptions(k *corev3.TcpKeepalive) []model.SocketOption {
	if k == nil {
		return nil
	}
	out := []model.SocketOption{{Level: unix.SOL_SOCKET, Name: unix.SO_KEEPALIVE, Int: 1}}
	for _, o := range []struct {
		name  int
		value *wrapperspb.UInt32Value
	}{
		{unix.TCP_KEEPCNT, k.GetKeepaliveProbes()}, {unix.TCP_KEEPIDLE, k.GetKeepaliveTime()}, {unix.TCP_KEEPINTVL, k.GetKeepaliveInterval()},
	} {
		switch {
		case o.value == nil:
		case o.value.GetValue() == 0:
			return nil
		default:
			out = append(out, model.SocketOption{Level: unix.IPPROTO_TCP, Name: o.name, Int: int(min(o.value.GetValue(), math.MaxInt32))})
		}
	}
	return out
}
