package agent

import (
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

func TestServiceOf(t *testing.T) {
	rule := func(prefix string, port uint16, service string) steer.Rule {
		return steer.Rule{Prefix: netip.MustParsePrefix(prefix), Port: port, Service: service}
	}
	plan := &steer.Plan{Rules: []steer.Rule{
		rule("0.0.0.0/0", 80, "any:80"), rule("10.0.0.0/8", 0, "ten"), rule("10.0.0.0/8", 80, "ten:80"), rule("10.1.0.0/16", 0, "one"),
		rule("10.2.0.1/32", 80, ""), rule("fd00::/8", 0, "six"),
		{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Protocol: steer.UDP, Service: "datagrams"},
	}}
	for dst, want := range map[string]string{
		"10.1.0.1:80": "ten:80", "10.1.0.1:81": "one", "10.3.0.1:81": "ten", "192.0.2.1:80": "any:80", "192.0.2.1:81": "", "10.2.0.1:80": "",
		"[fd00::1]:80": "six", "10.9.0.1:53": "ten",
	} {
		if got := serviceOf(plan, netip.MustParseAddrPort(dst)); got != want {
			t.Errorf("%s: %q, want %q", dst, got, want)
		}
	}
}
