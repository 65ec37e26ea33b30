package steer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// udpListenerAt is a listener of datagrams that is not bound.
func udpListenerAt(addrs ...string) *model.Listener {
	l := &model.Listener{UDP: &model.UDPSocket{}}
	for i, a := range addrs {
		if ap := netip.MustParseAddrPort(a); i == 0 {
			l.Address = ap
		} else {
			l.AdditionalAddresses = append(l.AdditionalAddresses, ap)
		}
	}
	return l
}

func TestCompileUDP(t *testing.T) {
	catchAll := udpListenerAt("0.0.0.0:15001")
	catchAll.BindToPort, catchAll.UseOriginalDst = true, true
	bound := udpListenerAt("0.0.0.0:53")
	bound.BindToPort = true
	compat := udpListenerAt("[::]:53")
	compat.IPv4Compat = true
	policy := func(prefix string, action model.UDPAction, ports ...uint16) model.UDPPolicy {
		return model.UDPPolicy{Prefix: netip.MustParsePrefix(prefix), Ports: ports, Action: action}
	}
	for _, tc := range []struct {
		name      string
		listeners map[string]*model.Listener
		config    *model.Interception
		want      []string
		notices   int
	}{
		{"nothing", map[string]*model.Listener{"tcp": {Address: netip.MustParseAddrPort("10.0.0.1:80")}, "bound": bound}, nil, nil, 0},
		{
			"an address",
			map[string]*model.Listener{"dns": udpListenerAt("10.0.0.53:53", "[fd00::53]:53")},
			nil,
			[]string{"10.0.0.53/32 53 redirect dns", "fd00::53/128 53 redirect dns"},
			0,
		},
		{"any address", map[string]*model.Listener{"dns": udpListenerAt("0.0.0.0:53")}, nil, []string{
			"0.0.0.0/0 53 redirect dns", "0.0.0.0/32 53 pass ", "127.0.0.0/8 53 pass ", "224.0.0.0/4 53 pass ", "255.255.255.255/32 53 pass ",
		}, 0},
		{"any address of both families, and a local one", map[string]*model.Listener{"dns": compat, "local": udpListenerAt("127.0.0.53:53")}, nil, []string{
			"0.0.0.0/0 53 redirect dns", "0.0.0.0/32 53 pass ", "127.0.0.0/8 53 pass ", "127.0.0.53/32 53 redirect local", "224.0.0.0/4 53 pass ", "255.255.255.255/32 53 pass ",
			"::/0 53 redirect dns", "::/128 53 pass ", "::1/128 53 pass ", "fe80::/10 53 pass ", "ff00::/8 53 pass ",
		}, 0},
		{"everything", map[string]*model.Listener{"all": catchAll}, nil, []string{
			"0.0.0.0/0 0 redirect all", "0.0.0.0/32 0 pass ", "127.0.0.0/8 0 pass ", "224.0.0.0/4 0 pass ", "255.255.255.255/32 0 pass ",
			"::/0 0 redirect all", "::/128 0 pass ", "::1/128 0 pass ", "fe80::/10 0 pass ", "ff00::/8 0 pass ",
		}, 0},
		{
			"policies go before listeners, the first before others",
			map[string]*model.Listener{"dns": udpListenerAt("10.0.0.53:53")},
			&model.Interception{UDP: []model.UDPPolicy{
				policy("10.0.0.53/32", model.UDPPass, 53), policy("0.0.0.0/0", model.UDPRefuse, 443, 8443), policy("0.0.0.0/0", model.UDPProxied, 443),
			}},
			[]string{"10.0.0.53/32 53 pass ", "0.0.0.0/0 443 refuse ", "0.0.0.0/0 8443 refuse "},
			0,
		},
		{
			"two listeners for one address",
			map[string]*model.Listener{"a": udpListenerAt("10.0.0.53:53"), "b": udpListenerAt("10.0.0.53:53")},
			nil,
			[]string{"10.0.0.53/32 53 redirect a"},
			1,
		},
		{"inbound listeners are not for what leaves", map[string]*model.Listener{"in": inbound(udpListenerAt("0.0.0.0:53", "10.0.0.5:53"))}, nil, nil, 0},
		{"inbound beside outbound", map[string]*model.Listener{"in": inbound(udpListenerAt("10.0.0.53:53")), "out": udpListenerAt("10.0.0.53:53")}, nil, []string{"10.0.0.53/32 53 redirect out"}, 0},
		{"no port", map[string]*model.Listener{"a": udpListenerAt("10.0.0.53:0")}, nil, nil, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, l := range tc.listeners {
				l.Name = name
			}
			plan, notices := CompileUDP(&model.Snapshot{Listeners: model.SetOf(tc.listeners), Interception: tc.config})
			var got []string
			for _, r := range plan.Rules {
				if r.Protocol != UDP || r.Origin == "" {
					t.Errorf("rule %+v", r)
				}
				got = append(got, fmt.Sprintf("%s %d %s %s", r.Prefix, r.Port, r.Action, r.Listener))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if len(notices) != tc.notices {
				t.Errorf("notices: %v", notices)
			}
			if want := len(got) > 0; (len(plan.Cgroups) > 0) != want {
				t.Errorf("cgroups %v", plan.Cgroups)
			}
		})
	}
}

// The plan of connections knows nothing of listeners of datagrams, and the other way round.
func TestPlansAreApart(t *testing.T) {
	udp, tcp := udpListenerAt("10.0.0.53:53"), &model.Listener{Address: netip.MustParseAddrPort("10.0.0.53:53")}
	udp.Name, tcp.Name = "udp", "tcp"
	snap := &model.Snapshot{
		Listeners:    model.SetOf(map[string]*model.Listener{"udp": udp, "tcp": tcp}),
		Interception: &model.Interception{Exclude: []model.CaptureRange{{Ports: []uint16{80}}}},
	}
	connections, _ := Compile(snap)
	datagrams, _ := CompileUDP(snap)
	if names := strings.Join(connections.Listeners(), ","); names != "tcp" {
		t.Errorf("connections: %s", names)
	}
	if names := strings.Join(datagrams.Listeners(), ","); names != "udp" {
		t.Errorf("datagrams: %s", names)
	}
	if len(datagrams.Excludes) != 2 || datagrams.Excludes[0].Protocol != UDP {
		t.Errorf("exclusions: %v", datagrams.Excludes)
	}
}
