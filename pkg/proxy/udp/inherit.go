package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Passable is an open socket that another process can go on with.
type Passable struct {
	// Key by which Options.Inherit finds it there.
	Key string
	// Conn gives access to it.
	Conn syscall.RawConn
}

// keyScheme keeps the keys of sockets apart from those of package listener.
const keyScheme = "udp:"

// Pass lists the bound sockets for another process to go on with. Until this one closes them, each datagram comes to one of the two,
// which both can answer it.
func (m *Manager) Pass() []Passable {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed = true
	var out []Passable
	for key, s := range m.sockets {
		out = append(out, Passable{Key: keyScheme + key, Conn: s.raw})
	}
	return out
}

// KeepSockets tells that no other process goes on with the sockets after all.
func (m *Manager) KeepSockets() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed = false
}

// mute ends the socket's goroutine; answers still leave by it.
func (s *socket) mute() {
	s.muted.Store(true)
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
}

// open gives the socket for a spec: one of an earlier process, or a new one, for which sockets of a version on its way out make way.
func (m *Manager) open(was *active, sp spec) (*socket, error) {
	if m.opts.Inherit != nil {
		if pc := m.opts.Inherit(keyScheme + sp.key); pc != nil {
			return adopt(pc, sp)
		}
	}
	s, err := open(context.Background(), sp)
	if errors.Is(err, errInUse) && m.clear(was, sp) {
		return open(context.Background(), sp)
	}
	return s, err
}

// adopt makes a socket of one that was opened already. The keys of specs say with which options.
func adopt(pc net.PacketConn, s spec) (*socket, error) {
	c, ok := pc.(*net.UDPConn)
	if !ok {
		_ = pc.Close()
		return nil, fmt.Errorf("bind %s: the inherited socket is not one of UDP", s.addr)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		_ = pc.Close()
		return nil, fmt.Errorf("bind %s: %w", s.addr, err)
	}
	return &socket{
		key: s.key, conn: c, raw: raw, v6: s.addr.Addr().Is6(), batch: NewBatch(s.room, s.size),
		bound: unmapped(c.LocalAddr().(*net.UDPAddr).AddrPort()),
	}, nil
}
