package listener

import "github.com/weir-proxy/weir/pkg/config/model"

// ofConnections is the listener of a name; nil when there is none, or it is one of datagrams, which are package udp's.
func ofConnections(snap *model.Snapshot, name string) *model.Listener {
	if l := snap.Listeners.Get(name); l != nil && l.UDP == nil {
		return l
	}
	return nil
}

// countActive brings total_listeners_active up to date, which counts the listeners of datagrams too. The caller holds mu.
func (m *Manager) countActive() {
	m.stats.active.Add(int64(len(m.active) - m.counted))
	m.counted = len(m.active)
}
