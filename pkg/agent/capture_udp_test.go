package agent

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// What the kernel half for datagrams looks at follows the listeners, whatever order snapshots come in.
func TestNarrow(t *testing.T) {
	c := newDatagramCapture(nil, func(s *model.Snapshot) *model.Snapshot { return s }, 0, &persistence{})
	tcp, udp := &model.Listener{}, &model.Listener{UDP: &model.UDPSocket{}}
	other := &model.Listener{UDP: &model.UDPSocket{}}
	of := func(all map[string]*model.Listener) *model.Snapshot {
		return &model.Snapshot{Listeners: model.SetOf(all)}
	}
	all := of(map[string]*model.Listener{"t": tcp, "u": udp})
	for i, step := range []struct {
		snap *model.Snapshot
		want map[string]*model.Listener
	}{
		{of(nil), nil},
		{all, map[string]*model.Listener{"u": udp}},
		{all, map[string]*model.Listener{"u": udp}},
		{of(map[string]*model.Listener{"t": udp, "u": other}), map[string]*model.Listener{"t": udp, "u": other}},
		{of(map[string]*model.Listener{"t": tcp, "u": tcp}), nil},
		{all, map[string]*model.Listener{"u": udp}},
		{of(nil), nil},
	} {
		got := map[string]*model.Listener{}
		for name, l := range c.narrow(step.snap).Listeners.All() {
			got[name] = l
		}
		if len(got) != len(step.want) {
			t.Errorf("step %d: %v", i, got)
		}
		for name, l := range step.want {
			if got[name] != l {
				t.Errorf("step %d: %s is %v", i, name, got[name])
			}
		}
	}
}
