package agent

import (
	"net/netip"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/pkg/kernel/source"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// sourceAddr tells, by a cache of its own, the addresses that the kernel would send from in network namespaces, nil for weir's own.
func sourceAddr(p source.Protocol) func(*streaminfo.Namespace, netip.AddrPort, time.Time) (netip.Addr, bool) {
	cache := source.NewCache(p)
	return func(in *streaminfo.Namespace, dst netip.AddrPort, now time.Time) (netip.Addr, bool) {
		if in == nil {
			return cache.Find(0, nil, dst, now)
		}
		return cache.Find(in.Cookie, in.Inside, dst, now)
	}
}

// explainedSource is the address that the kernel would send from in the network namespace of a file, "" for weir's own.
func explainedSource(file string, datagram bool, dst netip.AddrPort) (addr netip.Addr, ok bool) {
	protocol := source.TCP
	if datagram {
		protocol = source.UDP
	}
	ask := func() (err error) {
		addr, err = source.Of(protocol, dst)
		return err
	}
	if file == "" {
		err := ask()
		return addr, err == nil
	}
	n, err := netns.Open(file)
	if err != nil {
		return addr, false
	}
	defer n.Close()
	err = n.Do(ask)
	return addr, err == nil
}
