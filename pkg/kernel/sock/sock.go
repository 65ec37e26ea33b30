// Package sock holds by what the kernel half of weir recognises sockets: the mark of the proxy's own connections and the cookie of a
// network namespace.
//
// It owns those two facts and nothing else; it must not know BPF or configuration. It has no state.
package sock

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// DefaultMark is the SO_MARK of the proxy's own sockets. Others look at single bits of marks, so it has none of theirs: 0x4000 and
// 0x8000 (kube-proxy), 0x2000 (portmap), 0x80 (AWS VPC CNI), 0xf00 (Cilium's mask; its identities are in the upper half), 0xffff0000
// (Calico), 0xff0000 (Tailscale), nor the lowest bit, which guides to transparent proxies use; nor is it, in the lower 12 bits, 0x539
// or 0x111 (Istio).
const DefaultMark uint32 = 0x1076

// NetnsCookie returns the cookie of the network namespace of the calling thread (SO_NETNS_COOKIE, Linux 5.14): unique for the
// life of the host, unlike an inode number.
func NetnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	return cookie, nil
}
