package listener

import "net/netip"

// identify gives a captured connection the client's address that it would have had towards its original destination: the kernel has
// chosen a loopback address for the way to the capture socket. A client whose socket is bound to an address has that one already.
func (cn *connection) identify(dst netip.AddrPort) {
	client := cn.c.Remote()
	ip := client.Addr()
	if cn.m.opts.SourceAddr == nil || !ip.IsLoopback() || ip != cn.c.Local().Addr() || dst.Addr().IsLoopback() || dst.Addr().IsUnspecified() {
		return
	}
	if src, ok := cn.m.opts.SourceAddr(cn.info.Namespace, dst, cn.info.Start); ok {
		cn.info.Remote = netip.AddrPortFrom(src, client.Port())
		cn.info.DirectRemote = cn.info.Remote
	}
}
