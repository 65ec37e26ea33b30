package accel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// caseLimit is how long one connection of the test may take. It takes some milliseconds, or for ever on a kernel that loses bytes or
// wakeups; a limit on all of them together would have a busy machine be taken for such a kernel.
const caseLimit = 5 * time.Second

// trial is an Accelerator that sockets of this process try, in the roles of proxy and application.
type trial struct {
	*Accelerator
	door *net.TCPListener
	full bool
	ends time.Time // of the case that runs
	rnd  *rand.Rand
}

// SelfTest has bytes redirected between sockets of this process, in ways of which some kernel got one wrong. It attaches its
// programs to the process's own cgroup meanwhile, where they leave all other connections alone. The error says what went wrong, of
// which the mode should not be used then; see ErrUncounted for the one exception.
func SelfTest(ctx context.Context, m Mode) error {
	err := tryIn(ctx, func(t *trial) (err error) {
		for _, t.full = range []bool{false, true}[:1+m] {
			if err = t.attach(); err != nil {
				return err
			}
			for _, c := range cases() {
				if c.receive && t.full {
					continue
				}
				if err := t.run(ctx, c); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("test acceleration: %w", err)
	}
	return nil
}

// ErrUncounted is returned by Counts.
var ErrUncounted = errors.New("applications that ask how many bytes wait for them (FIONREAD), as nginx does, are told of none")

// Counts tells whether an application can ask how many bytes wait in a socket that is taken in, of those that came by TCP. Some
// kernels of 2026 answer 0 (a change of FIONREAD for sockmaps, in Linux 6.12.75 among others), and whoever believes that may wait
// for ever. The error is ErrUncounted then: only the sockets of applications must be taken in that somebody vouches for, in either
// mode.
func Counts(ctx context.Context) error {
	err := tryIn(ctx, func(t *trial) error {
		if err := t.attach(); err != nil {
			return err
		}
		p, err := t.connect(ctx)
		if err != nil {
			return err
		}
		defer p.close()
		return p.counts()
	})
	if err != nil {
		return fmt.Errorf("test acceleration: %w", err)
	}
	return nil
}

// tryIn calls f with a trial.
func tryIn(ctx context.Context, f func(t *trial) error) error {
	t, err := newTrial(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(t), t.close())
}

func newTrial(ctx context.Context) (*trial, error) {
	a, err := Load(Options{Limit: trialLimit})
	if err != nil {
		return nil, err
	}
	var l net.ListenConfig
	var door net.Listener
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		if door, err = l.Listen(ctx, "tcp", at); err == nil {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	t := &trial{Accelerator: a, door: door.(*net.TCPListener), rnd: rand.New(rand.NewPCG(1, 2))}
	if err := a.SetDoors([]netip.AddrPort{addrOf(door.Addr())}); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func addrOf(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

func (t *trial) close() error { return errors.Join(t.door.Close(), t.Close()) }

// attach takes in sockets of the process's own cgroup.
func (t *trial) attach() error {
	h, err := cgroup.Find()
	if err != nil {
		return err
	}
	own, err := h.Of(0)
	if err != nil {
		return err
	}
	if t.full {
		return t.Attach([]string{own}, []string{own})
	}
	return t.Attach([]string{own}, nil)
}

// run tries one case on a connection of its own.
func (t *trial) run(ctx context.Context, c trialCase) error {
	p, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	before, err := t.Status()
	if err != nil {
		return err
	}
	if err := c.run(t, p); err != nil {
		return err
	}
	after, err := t.Status()
	if err == nil && after.Bytes == before.Bytes {
		err = errors.New("nothing was redirected")
	}
	return err
}

// pairOfEnds is a connection: the proxy's end has been taken in.
type pairOfEnds struct {
	app, proxy *net.TCPConn
	lane       *Lane
	read       uint64
}

// connect makes the connection of one case, which ends in time.
func (t *trial) connect(ctx context.Context) (*pairOfEnds, error) {
	ctx, cancel := context.WithTimeout(ctx, caseLimit)
	defer cancel()
	t.ends, _ = ctx.Deadline()
	var d net.Dialer
	app, err := d.DialContext(ctx, "tcp", t.door.Addr().String())
	if err != nil {
		return nil, err
	}
	p := &pairOfEnds{app: app.(*net.TCPConn)}
	err = t.door.SetDeadline(t.ends)
	if err == nil {
		p.proxy, err = t.door.AcceptTCP()
	}
	if err == nil {
		err = errors.Join(p.app.SetDeadline(t.ends), p.proxy.SetDeadline(t.ends), t.take(p))
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// take has the proxy's end be accelerated.
func (t *trial) take(p *pairOfEnds) error {
	raw, err := p.proxy.SyscallConn()
	if err != nil {
		return err
	}
	var reason Reason
	err = raw.Control(func(fd uintptr) {
		reason = t.Accelerate(int(fd), addrOf(p.proxy.LocalAddr()), addrOf(p.proxy.RemoteAddr()), 0, func(l *Lane) { p.lane = l })
	})
	if err == nil && reason != Accelerated {
		err = fmt.Errorf("a connection was not accelerated: %s", reason)
	}
	return err
}

func (p *pairOfEnds) close() {
	_ = p.app.Close() // tests close their ends themselves, too
	if p.proxy != nil {
		_ = p.proxy.Close()
	}
	if p.lane != nil {
		p.lane.Release()
	}
}
