package conn_test

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// run runs commands of ip(8) in a namespace.
func run(t *testing.T, in *streaminfo.Namespace, commands ...string) {
	t.Helper()
	for _, command := range commands {
		if err := in.Inside(func() error {
			out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput()
			if err != nil {
				t.Logf("%s", out)
			}
			return err
		}); err != nil {
			t.Fatalf("ip %s: %v", command, err)
		}
	}
}

// TestLinkLocal connects to link-local addresses, whose scope the kernel side does not see.
func TestLinkLocal(t *testing.T) {
	in := conntest.Namespace(t, true)
	run(t, in, "link add one type veth peer name two", "link set one addrgenmode none up", "addr add fe80::1/64 dev one nodad")
	var l net.Listener
	if err := in.Inside(func() (err error) {
		l, err = net.Listen("tcp", "[::]:80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialer := conn.Dialer{Poller: conntest.Poller(t)}
	dial := func(address string) error {
		c, err := dialer.DialFrom(t.Context(), streaminfo.Origin{Namespace: in}, netip.MustParseAddrPort(address))
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, address := range []string{"[fe80::1]:80", "[fe80::1%one]:80", "[::1]:80", "127.0.0.1:80"} {
		if err := dial(address); err != nil {
			t.Errorf("the only link: %s: %v", address, err)
		}
	}
	run(t, in, "link set two addrgenmode none up")
	for address, want := range map[string]string{
		"[fe80::1%one]:80":   "",
		"[fe80::1]:80":       "link-local address without a scope",
		"[fe80::1%three]:80": "link-local address without a scope",
	} {
		err := dial(address)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("two links: %s: %v, want %q", address, err, want)
		}
	}
}
