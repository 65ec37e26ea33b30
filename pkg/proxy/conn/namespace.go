package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// errNoScope tells that a link-local address is ambiguous: which link is not known, and there is more than one.
var errNoScope = errors.New("link-local address without a scope")

// controlIn sets the options of a socket that package net made. It puts one of the namespace, nil for weir's own, in its place
// before anything is done with it: so the thread is inside only for that moment, however long the connecting takes, and package
// net does all the rest.
func (d *Dialer) controlIn(in *streaminfo.Namespace) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			if in != nil {
				failed = replace(int(fd), in)
			}
			if failed == nil {
				failed = d.options(int(fd))
			}
		})
		return errors.Join(err, failed)
	}
}

// replace makes fd a TCP socket of the namespace, of the address family that it had.
func replace(fd int, in *streaminfo.Namespace) error {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fmt.Errorf("read SO_DOMAIN: %w", err)
	}
	var inside int
	if err := in.Inside(func() (err error) {
		inside, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
		return err
	}); err != nil {
		return fmt.Errorf("open socket in network namespace %s: %w", in.Name, err)
	}
	defer unix.Close(inside)
	if err := unix.Dup3(inside, fd, unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("take over socket of network namespace %s: %w", in.Name, err)
	}
	return nil
}

// scoped completes an IPv6 link-local address without a scope, which the kernel side does not see, when the namespace, nil for
// weir's own, has one link that it can be on. It turns the name of a link into its number there.
func scoped(in *streaminfo.Namespace, addr *netip.AddrPort) error {
	ip := addr.Addr()
	if !ip.Is6() || !ip.IsLinkLocalUnicast() && ip.Zone() == "" {
		return nil
	}
	complete := func() error {
		zone, err := linkOf(ip.Zone())
		if err == nil {
			*addr = netip.AddrPortFrom(ip.WithZone(zone), addr.Port())
		}
		return err
	}
	if in == nil {
		return complete()
	}
	return in.Inside(complete)
}

// linkOf gives the number of a link as a zone; that of the only link that is up, without loopback, for none.
func linkOf(zone string) (string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list links: %w", err)
	}
	found := 0
	for _, l := range links {
		switch {
		case zone == l.Name || zone == fmt.Sprint(l.Index):
			return fmt.Sprint(l.Index), nil
		case zone != "" || l.Flags&net.FlagUp == 0 || l.Flags&net.FlagLoopback != 0:
		case found != 0:
			return "", errNoScope
		default:
			found = l.Index
		}
	}
	if found == 0 {
		return "", errNoScope
	}
	return fmt.Sprint(found), nil
}
