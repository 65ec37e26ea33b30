package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// How many datagrams are received at once, and how many bundles of them with GRO.
const (
	batchSize = 16
	groBatch  = 4
)

// largest is the largest payload of IPv4, and so of what GRO gives at once.
const largest = 65535

// socket is a bound socket with its goroutine. It outlives the listener's version that opened it when the next one has the
// same address.
type socket struct {
	key    string
	conn   *net.UDPConn
	raw    syscall.RawConn
	bound  netip.AddrPort
	v6     bool // an AF_INET6 socket
	batch  *Batch
	target atomic.Pointer[active] // who gets the datagrams; nil for capture sockets
	closed atomic.Bool
	muted  atomic.Bool
}

// spec is a socket that a listener wants.
type spec struct {
	key  string
	addr netip.AddrPort
	dual bool
	// loopback has what comes to other addresses than those of 127.0.0.0/8 dropped.
	loopback bool
	// mark is the SO_MARK; 0 for none.
	mark uint32
	// transparent and freebind are socket options, gro takes several datagrams as one.
	transparent, freebind, gro bool
	// options are socket_options.
	options []model.SocketOption
	// room and size of a batch of datagrams.
	room, size int
}

// specs are the sockets of a listener; none when it does not bind.
func specs(l *model.Listener) []spec {
	if !l.BindToPort {
		return nil
	}
	var out []spec
	for i, a := range addresses(l) {
		s := spec{addr: a, dual: l.IPv4Compat, transparent: l.Transparent, freebind: l.Freebind, gro: l.UDP.GRO, options: l.OptionsAt(i)}
		if s.room, s.size = batchSize, l.UDP.MaxDatagram; s.gro {
			s.room, s.size = groBatch, largest
		}
		s.key = fmt.Sprintf("%s|%t%t%t%t|%d", a, s.dual, s.transparent, s.freebind, s.gro, s.size)
		if len(s.options) > 0 {
			s.key = fmt.Sprintf("%s|%v", s.key, s.options)
		}
		if a.Port() == 0 { // each its own
			s.key = fmt.Sprintf("%s#%s#%d", s.key, l.Name, i)
		}
		out = append(out, s)
	}
	return out
}

// addresses are all addresses of the listener.
func addresses(l *model.Listener) []netip.AddrPort {
	return append([]netip.AddrPort{l.Address}, l.AdditionalAddresses...)
}

// open binds, without receiving yet.
func open(ctx context.Context, s spec) (*socket, error) {
	network, v6 := "udp4", s.addr.Addr().Is6()
	if v6 {
		network = "udp6"
		if s.dual {
			network = "udp"
		}
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return s.control(raw, v6) }}
	pc, err := lc.ListenPacket(ctx, network, s.addr.String())
	if err != nil {
		return nil, fmt.Errorf("bind %s: %w", s.addr, conn.ListenError(err))
	}
	sock, err := adopt(pc, s)
	if err != nil || len(s.options) == 0 {
		return sock, err
	}
	var failed error
	err = sock.raw.Control(func(fd uintptr) { failed = conn.SetOptions(int(fd), s.options, true) })
	if err = errors.Join(err, failed); err != nil {
		sock.shut()
		return nil, fmt.Errorf("bind %s: %w", s.addr, err)
	}
	return sock, nil
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// option is a socket option that must be there before bind.
type option struct {
	name              string
	level, kind       int
	wanted, mayBeLost bool
}

// control sets the options of a socket.
func (s *spec) control(raw syscall.RawConn, v6 bool) error {
	options := []option{
		{"SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, true, false},
		{"UDP_GRO", unix.IPPROTO_UDP, unix.UDP_GRO, s.gro, true},
		{"IP_PKTINFO", unix.SOL_IP, unix.IP_PKTINFO, !v6, false},
		{"IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, v6, false},
		{"IP_TRANSPARENT", unix.SOL_IP, unix.IP_TRANSPARENT, s.transparent && !v6, false},
		{"IPV6_TRANSPARENT", unix.SOL_IPV6, unix.IPV6_TRANSPARENT, s.transparent && v6, false},
		{"IP_FREEBIND", unix.SOL_IP, unix.IP_FREEBIND, s.freebind && !v6, false},
		{"IPV6_FREEBIND", unix.SOL_IPV6, unix.IPV6_FREEBIND, s.freebind && v6, false},
	}
	var failed error
	err := raw.Control(func(fd uintptr) {
		for _, o := range options {
			if !o.wanted {
				continue
			}
			if err := unix.SetsockoptInt(int(fd), o.level, o.kind, 1); err != nil && !o.mayBeLost {
				failed = errors.Join(failed, fmt.Errorf("set %s: %w", o.name, err))
			}
		}
		if s.mark != 0 {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(int32(s.mark))); err != nil {
				failed = errors.Join(failed, fmt.Errorf("set SO_MARK: %w", err))
			}
		}
		if err := conn.SetOptions(int(fd), s.options, false); err != nil {
			failed = errors.Join(failed, err)
		}
		if s.loopback {
			if err := unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, loopbackOnly()); err != nil {
				failed = errors.Join(failed, fmt.Errorf("attach filter: %w", err))
			}
		}
	})
	return errors.Join(err, failed)
}

// loopbackOnly is a filter (classic BPF) that takes packets whose destination begins with 127. A socket that is bound to the loopback
// device would do as well, if it could answer clients that are bound to another address of this host.
func loopbackOnly() *unix.SockFprog {
	const destination = 0xfff00000 + 16 // in the network header (SKF_NET_OFF), that of IPv4
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: destination},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: 127},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	return &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
}

// shut closes the socket, which ends its goroutine.
func (s *socket) shut() {
	if !s.closed.Swap(true) {
		_ = s.conn.Close()
	}
}

// receive hands what comes to take until the socket is closed; the error is why it ended otherwise.
func (s *socket) receive(take func(*Message)) error {
	var (
		failed error
		m      Message
	)
	batch := s.batch
	err := s.raw.Read(func(fd uintptr) bool {
		for {
			n, err := batch.Receive(fd)
			switch {
			case err == nil:
			case errors.Is(err, unix.EAGAIN):
				return false
			case passing(err):
				continue
			default:
				failed = err
				return true
			}
			for i := range n {
				m = batch.Message(i)
				take(&m)
			}
			if n < batch.Room() {
				return false // the socket is drained
			}
		}
	})
	if s.closed.Load() || s.muted.Load() {
		return nil
	}
	return errors.Join(failed, err)
}

// passing tells errors that concern one datagram, which ICMP reports, from those of the socket.
func passing(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return false
	}
	switch errno {
	case syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EFAULT:
		return false
	}
	return true
}

// statPrefix is what stands for a listener in statistic names.
func statPrefix(l *model.Listener) string {
	if l.StatPrefix != "" {
		return l.StatPrefix
	}
	return strings.TrimSpace(l.Address.String())
}
