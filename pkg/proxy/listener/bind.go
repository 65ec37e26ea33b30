package listener

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// binding finds the sockets of listeners while a snapshot is applied.
type binding struct {
	m *Manager
	// next are the versions to come, by name: their predecessors give up what these do not want.
	next map[string]*active
	// wanted are the keys of the sockets that somebody goes on with or asks for.
	wanted map[string]bool
}

// change is a socket of a listener's next version.
type change struct {
	*socket
	// opened tells that it is new; was is the one in whose place it is then, nil for none.
	opened bool
	was    *socket
}

func (m *Manager) newBinding(next map[string]*active) *binding {
	b := &binding{m: m, next: next, wanted: map[string]bool{}}
	for name, a := range m.active {
		if next[name] != nil {
			continue
		}
		for _, s := range a.sockets {
			b.wanted[s.key] = true
		}
	}
	for _, a := range next {
		for _, sp := range specs(a.cfg) {
			b.wanted[sp.key] = true
		}
	}
	return b
}

// bind gives the sockets that a listener wants.
func (b *binding) bind(cfg *model.Listener) ([]change, error) {
	var all []change
	for _, sp := range specs(cfg) {
		c, err := b.socket(cfg, sp)
		if err != nil {
			for _, o := range all {
				if o.opened {
					o.shut()
				}
			}
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// socket gives a socket that is open already, if it can be made fit for the listener, or a new one.
func (b *binding) socket(cfg *model.Listener, sp spec) (c change, err error) {
	s := b.m.sockets[sp.key]
	if s == nil {
		c.socket, err = b.open(cfg, sp)
		c.opened = true
		return c, err
	}
	if owner := s.target.Load(); owner.cfg.Name != cfg.Name && b.m.active[owner.cfg.Name] == owner && !b.givesUp(owner, s) {
		return c, fmt.Errorf("bind %s: listener %s has this address", s.address(), owner.cfg.Name)
	}
	if !conn.SameOptions(s.options, sp.options) {
		c.socket, err = b.beside(s, cfg, sp)
		c.opened, c.was = true, s
		return c, err
	}
	c.socket = s
	return c, s.adapt(cfg, sp)
}

// beside opens a socket with other options at the address of one that goes on until this one is there: what was set cannot be taken
// back, and some can only be set before bind. At the path of a unix socket there is only one of them at a time.
func (b *binding) beside(s *socket, cfg *model.Listener, sp spec) (*socket, error) {
	if s.pipe != "" {
		b.m.acceptRest(s)
		s.shut()
		delete(b.m.sockets, s.key)
		return open(b.m.ctx, cfg, sp)
	}
	if err := s.sharePort(true); err != nil {
		return nil, err
	}
	sp.addr, sp.share = s.bound, true
	next, err := open(b.m.ctx, cfg, sp)
	if err != nil {
		return nil, errors.Join(err, s.sharePort(false))
	}
	if !slices.ContainsFunc(sp.options, func(o model.SocketOption) bool { return o.Level == unix.SOL_SOCKET && o.Name == unix.SO_REUSEPORT }) {
		err = next.sharePort(false)
	}
	return next, err
}

// givesUp tells whether a listener is about to move away from a socket.
func (b *binding) givesUp(owner *active, s *socket) bool {
	next := b.next[owner.cfg.Name]
	return next != nil && !slices.ContainsFunc(specs(next.cfg), func(sp spec) bool { return sp.key == s.key })
}

// open opens a socket. What is in its way and wanted by nobody any more is closed for it.
func (b *binding) open(cfg *model.Listener, sp spec) (*socket, error) {
	if sp.inherited = b.m.inherit(sp); sp.inherited == nil && sp.pipe != "" {
		b.clear(sp) // closing a socket removes its file: not that of the next one
	}
	s, err := open(b.m.ctx, cfg, sp)
	if errors.Is(err, syscall.EADDRINUSE) && b.clear(sp) {
		s, err = open(b.m.ctx, cfg, sp)
	}
	if errors.Is(err, syscall.EADDRINUSE) && b.share(&sp) {
		return open(b.m.ctx, cfg, sp)
	}
	return s, err
}

// share lets a new socket have the port of ours at other addresses, and tells whether there are any: 0.0.0.0:80 and
// 127.0.0.1:80 may be two listeners, of which the kernel takes the more specific one. As both must have SO_REUSEPORT for it,
// it is set only where the overlap is our own, and still tells when another process is in the way.
func (b *binding) share(sp *spec) bool {
	for _, s := range b.m.sockets {
		if s.pipe != "" || sp.pipe != "" || s.bound.Port() != sp.addr.Port() || s.bound == sp.addr {
			continue
		}
		if err := s.sharePort(true); err != nil {
			b.m.opts.Log.Warn("the port cannot be shared", "address", s.address(), "error", err)
			continue
		}
		sp.share = true
	}
	return sp.share
}

// sharePort lets other sockets of this user have the same port.
func (s *socket) sharePort(on bool) error {
	value := 0
	if on {
		value = 1
	}
	return s.option("SO_REUSEPORT", func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, value) })
}

// clear closes the sockets that could be in the way of a new one and that nobody wants, and tells whether there were any.
func (b *binding) clear(sp spec) bool {
	found := false
	for key, s := range b.m.sockets {
		if b.wanted[key] || s.pipe != sp.pipe || s.bound.Port() != sp.addr.Port() {
			continue
		}
		s.shut()
		delete(b.m.sockets, key)
		found = true
	}
	return found
}
