package inbound

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/await"
)

// The proxy's own connection to the application goes there, and no other one does, not even from the same address and port later.
func TestOwn(t *testing.T) {
	b := newBench(t)
	server := b.app(t, b.dir)
	for _, addr := range []string{server.listen("tcp4", ip4+":0"), server.listen("tcp6", "["+ip6+"]:0")} {
		if b.sinks == nil {
			b.start(t, everywhere())
		}
		must(t, b.Look())
		to := netip.MustParseAddrPort(addr)
		from := netip.AddrPortFrom(to.Addr(), 40000)
		dial := func() string {
			var c net.Conn
			must(t, b.Do(func() (err error) {
				d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: await.Patience}
				c, err = d.Dial("tcp", addr)
				return err
			}))
			defer c.Close()
			c.(*net.TCPConn).SetLinger(0)
			c.SetDeadline(time.Now().Add(await.Patience))
			buf := make([]byte, 4)
			n, err := c.Read(buf)
			must(t, err)
			return string(buf[:n])
		}
		must(t, b.Own(b.Cookie(), from, to, netip.AddrPort{}))
		if !b.Owned(b.Cookie(), from, to) || b.Owned(b.Cookie()+1, from, to) {
			t.Error("the connection is not known as own, or one of another namespace is")
		}
		if got := dial(); got != "app " {
			t.Errorf("own connection answered by %q", got)
		}
		b.expect(t, addr, "weir")
		b.Disown(b.Cookie(), from, to)
		if got := dial(); got != "weir" {
			t.Errorf("connection that is not own any more answered by %q", got)
		}
	}
}
