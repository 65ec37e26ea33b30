package agent

import (
	"github.com/weir-proxy/weir/pkg/agent/acceleration"
	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// newAcceleration makes what may have payload go past TCP. It follows the network namespaces that capture serves.
func (a *Agent) newAcceleration(root *stats.Scope) *acceleration.Acceleration {
	made := acceleration.New(acceleration.Options{
		Log: a.logs.Logger("intercept"), Stats: root, Poller: a.poller, Doors: a.listeners.Doors,
	})
	a.capture.namespaces.users = append(a.capture.namespaces.users, doorsChange{made})
	return made
}

// explainAcceleration tells explain.Explainer.
func (a *Agent) explainAcceleration() (explain.Acceleration, bool) {
	r := a.acceleration.Reach()
	out := explain.Acceleration{Off: r.Off, After: r.After}
	for _, dir := range r.Captured {
		out.Sent = append(out.Sent, explain.Cgroup{Name: r.Name(dir), Dir: dir})
	}
	for _, dir := range r.Named {
		out.Received = append(out.Received, explain.Cgroup{Name: r.Name(dir), Dir: dir})
	}
	return out, r.Asked
}

// doorsChange tells acceleration of capture sockets that come and go with namespaces.
type doorsChange struct{ *acceleration.Acceleration }

var _ namespaceUser = doorsChange{}

// enter implements namespaceUser.
func (d doorsChange) enter(*netns.Namespace, *streaminfo.Namespace) error {
	d.Changed()
	return nil
}

// leave implements namespaceUser.
func (d doorsChange) leave(*netns.Namespace, *streaminfo.Namespace) { d.Changed() }
