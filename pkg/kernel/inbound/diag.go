package inbound

import (
	"net/netip"

	"github.com/weir-proxy/weir/pkg/kernel/sockdiag"
)

// listening is a listening TCP socket as sock_diag(7) reports it.
type listening struct {
	addr   netip.AddrPort // as the socket has it: an IPv6 socket bound to a mapped address has that
	cookie uint64
	cgroup uint64 // 0: not reported, before Linux 5.8
	inode  uint32
	device uint32 // SO_BINDTODEVICE, 0: none
	v6only bool
}

// listeningIn lists the listening TCP sockets of both families.
func listeningIn(c *sockdiag.Conn) ([]listening, error) {
	var all []listening
	err := c.Dump(sockdiag.Query{States: []sockdiag.State{sockdiag.Listen}}, func(s *sockdiag.Socket) {
		all = append(all, listening{addr: s.Local, cookie: s.Cookie, cgroup: s.Cgroup, inode: s.Inode, device: s.Device, v6only: s.V6Only})
	})
	return all, err
}
