package conn

import (
	"errors"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// passage notes what it is told.
type passage struct{ lost []netip.AddrPort }

func (p *passage) Let(*streaminfo.Namespace, netip.AddrPort, netip.AddrPort, netip.AddrPort) error {
	return nil
}
func (p *passage) End(*streaminfo.Namespace, netip.AddrPort, netip.AddrPort) {}
func (p *passage) Lost(source netip.AddrPort, err error) {
	if errors.Is(err, unix.EPERM) {
		p.lost = append(p.lost, source)
	}
}

// unprivileged runs f on a thread without CAP_NET_ADMIN and CAP_NET_RAW, which ends with it.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		err := unix.Capget(&header, &caps[0])
		caps[0].Effective &^= 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
		if err == nil {
			err = unix.Capset(&header, &caps[0])
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skip(err)
	}
}

func TestSources(t *testing.T) {
	to := netip.MustParseAddrPort("127.0.0.1:1")
	foreign := netip.MustParseAddrPort("192.0.2.1:0")
	name := func(fd int) netip.AddrPort {
		sa, err := unix.Getsockname(fd)
		if err != nil {
			t.Error(err)
		}
		return sockaddr(sa)
	}
	bind := func(p *passage, from streaminfo.Origin, to netip.AddrPort) (told, bound netip.AddrPort) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return told, bound
		}
		defer unix.Close(fd)
		if told, err = (&Dialer{Passage: p}).bindSource(fd, from, to); err != nil {
			t.Error(err)
		}
		return told, name(fd)
	}
	source := streaminfo.Source{Addr: foreign}
	p := &passage{}
	if told, bound := bind(p, streaminfo.Origin{Inbound: true, Source: source}, to); told != bound || bound.Addr() != to.Addr() || bound.Port() == 0 {
		t.Errorf("to an application: bound to %s, told %s", bound, told)
	}
	elsewhere := netip.MustParseAddrPort("192.0.2.9:80")
	unprivileged(t, func() {
		if told, bound := bind(p, streaminfo.Origin{Inbound: true, Source: source}, elsewhere); told.IsValid() || !bound.Addr().IsUnspecified() {
			t.Errorf("without permission: bound to %s, told %s", bound, told)
		}
	})
	if len(p.lost) != 1 || p.lost[0] != foreign {
		t.Errorf("lost %v, want %s", p.lost, foreign)
	}
	if unix.Geteuid() == 0 {
		if told, bound := bind(p, streaminfo.Origin{Source: source}, elsewhere); told.IsValid() || bound.Addr() != foreign.Addr() {
			t.Errorf("with permission: bound to %s, told %s", bound, told)
		}
	}
}

func TestNamed(t *testing.T) {
	local := netip.MustParseAddrPort("10.0.0.1:40000")
	for source, want := range map[string]string{
		"192.0.2.1:0": "192.0.2.1:40000", "192.0.2.1:7": "192.0.2.1:7", "[2001:db8::1]:0": "invalid AddrPort",
	} {
		if got := named(streaminfo.Source{Addr: netip.MustParseAddrPort(source)}, local); got.String() != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
	if got := named(streaminfo.Source{}, local); got.IsValid() {
		t.Errorf("without a source: %s", got)
	}
}
