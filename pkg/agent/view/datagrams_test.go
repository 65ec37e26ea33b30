package view

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/datagram"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

type fakeDatagrams struct{}

func (fakeDatagrams) Status() (datagram.Status, error) {
	return datagram.Status{
		Loaded: true, Generation: 2, Netns: 8,
		Plan: &steer.Plan{FailClosed: true, Rules: []steer.Rule{{
			Prefix: netip.MustParsePrefix("0.0.0.0/0"), Port: 443, Action: steer.Refuse, Origin: "udp rule 1",
		}}},
		Capture: map[uint64]datagram.Ports{1: {IPv4: 3}, 8: {IPv4: 4, IPv6: []uint16{5, 6}}},
		Cgroups: []attach.CgroupStatus{{Dir: "/sys/fs/cgroup/x", Name: "/x", ID: 5, Hooks: []attach.HookStatus{{
			Hook: "CGroupUDP4Sendmsg", LinkID: 12, Programs: []program.AtHook{{ID: 13, Name: "weir_udp_sendmsg4", Weir: true}},
		}}}},
	}, nil
}

func (fakeDatagrams) Counters() (map[string]uint64, error) {
	return map[string]uint64{datagram.ReasonDisabled.String(): 0, datagram.ReasonProxyMark.String(): 7}, nil
}

func TestDatagramsThatCannotBeCaptured(t *testing.T) {
	v := Interception{Interceptor: func() Interceptor { return nil }, Datagrams: func() (Datagrams, error) { return nil, errors.New("needs CAP_BPF") }}
	got := v.InterceptionStatus().(*interceptionStatus).UDP
	if got == nil || got.Active || got.Error != "needs CAP_BPF" {
		t.Errorf("%+v", got)
	}
	v.Datagrams = func() (Datagrams, error) { return nil, nil }
	if got := v.InterceptionStatus().(*interceptionStatus).UDP; got != nil {
		t.Errorf("without datagrams: %+v", got)
	}
}
