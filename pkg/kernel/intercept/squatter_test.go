package intercept

import (
	"net"
	"strings"
	"syscall"
	"testing"
)

// TestSquatterIsNotTheProxy has the port of the capture socket bound by somebody whose socket has not the proxy's mark, as after the
// proxy's death: connections are left to the fail policy.
func TestSquatterIsNotTheProxy(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		b := newBench(t)
		l, err := net.Listen("tcp", network)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := b.SetCapture(0, addrOf(l.Addr())); err != nil {
			t.Fatal(err)
		}
		server, prefix := direct(t, network), "127.0.0.0/8"
		if strings.HasPrefix(network, "[") {
			prefix = "::1/128"
		}
		plan := b.plan(server.Port(), prefix)
		b.apply(t, plan)
		if ans := client(t, b.dir, request{Addr: server.String()}); ans.Greeting != "direct" {
			t.Errorf("%s: open: %+v, want it direct", network, ans)
		}
		closed := *plan
		closed.FailClosed = true
		b.apply(t, &closed)
		if ans := client(t, b.dir, request{Addr: server.String()}); ans.Errno != int(syscall.ECONNREFUSED) {
			t.Errorf("%s: closed: %+v, want it refused", network, ans)
		}
		counters, err := b.Counters()
		if n := counters[ReasonNotListening.String()]; n != 2 || err != nil {
			t.Errorf("%s: not listening %d times (%v), want 2", network, n, err)
		}
	}
}
