package inbound

import (
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/sockdiag"
)

func TestListening(t *testing.T) {
	h := newHost(t)
	for _, addr := range []string{"127.0.0.1:1001", "[::1]:1002", "[::]:1003"} {
		network := "tcp"
		if addr == "[::]:1003" {
			network = "tcp6"
		}
		h.listen(t, network, addr, "weir")
	}
	h.listen(t, "tcp", ":1004", "weir")
	var found []listening
	must(t, h.Do(func() error {
		d, err := sockdiag.Open()
		if err != nil {
			return err
		}
		defer d.Close()
		found, err = listeningIn(d)
		return err
	}))
	v6only := map[netip.AddrPort]bool{}
	for _, l := range found {
		v6only[l.addr] = l.v6only
		if l.cookie == 0 || l.inode == 0 || l.cgroup == 0 || l.device != 0 {
			t.Errorf("incomplete: %+v", l)
		}
	}
	want := map[string]bool{"127.0.0.1:1001": false, "[::1]:1002": false, "[::]:1003": true, "[::]:1004": false}
	for addr, only := range want {
		got, ok := v6only[netip.MustParseAddrPort(addr)]
		if !ok || got != only && addr != "[::1]:1002" {
			t.Errorf("%s: found %t, v6only %t; all: %v", addr, ok, got, v6only)
		}
	}
	if len(found) != len(want) {
		t.Errorf("found %+v", found)
	}
}

// A listener that is bound to a device, and one of a process in a cgroup that is not captured, are told apart by sock_diag alone.
func TestDeviceBoundIsLeftAlone(t *testing.T) {
	b := newBench(t)
	b.start(t, everywhere())
	server := b.app(t, b.dir)
	addr := server.listen("tcp4+lo", ip4+":0")
	must(t, b.Look())
	b.expect(t, addr, "app")
	counters, err := b.Counters()
	must(t, err)
	if counters["listen_device"] != 1 {
		t.Errorf("counters %v", counters)
	}
}
