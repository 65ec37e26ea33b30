package agent

import (
	"slices"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/network/tcpproxy"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// newTCPProxy makes a TCP proxy with its access logs opened.
func (a *Agent) newTCPProxy(cfg *model.TCPProxy) (filter.Network, error) {
	logs, err := a.access.Build(cfg.AccessLogs)
	if err != nil {
		return nil, err
	}
	return tcpproxy.New(cfg, tcpproxy.Deps{
		Stats: a.stats.Root(), Wheel: a.wheel, Pool: a.relays, OnDemand: a.store,
		Cluster:   func(name string) tcpproxy.Cluster { return tcpproxy.FromCluster(a.clusters.Get(name)) },
		AccessLog: func(info *streaminfo.Info) { logConnection(logs, info) },
	})
}

func logConnection(logs accesslog.Loggers, info *streaminfo.Info) {
	logs.Log(&format.Context{Info: info, Type: format.TCPConnectionEnd})
}

// listenerLogs are the open access logs of listeners, by configuration.
type listenerLogs struct {
	mu   sync.Mutex
	logs map[*model.Listener]accesslog.Loggers
	// failed names those whose access logs could not be opened.
	failed []string
}

// listenerAccessLog writes the access logs of a listener itself.
func (a *Agent) listenerAccessLog(l *model.Listener, info *streaminfo.Info) {
	a.listenerLogs.mu.Lock()
	logs, ok := a.listenerLogs.logs[l]
	a.listenerLogs.mu.Unlock()
	if ok {
		logConnection(logs, info)
	}
}

// openListenerLogs opens the access logs of the listeners that differ from those of the last snapshot, and of those whose logs
// could not be opened then, and forgets those of listeners that are gone.
func (a *Agent) openListenerLogs(last model.Set[*model.Listener], snap *model.Snapshot) {
	a.listenerLogs.mu.Lock()
	defer a.listenerLogs.mu.Unlock()
	names := a.listenerLogs.failed
	a.listenerLogs.failed = nil
	for name, l := range snap.Listeners.Changes(last) {
		delete(a.listenerLogs.logs, l.Old)
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		l := snap.Listeners.Get(name)
		if l == nil || len(l.AccessLogs) == 0 {
			continue
		}
		logs, err := a.access.Build(l.AccessLogs)
		if err != nil {
			a.log.Error("access log of a listener is not written", "listener", name, "error", err)
			a.listenerLogs.failed = append(a.listenerLogs.failed, name)
			continue
		}
		if a.listenerLogs.logs == nil {
			a.listenerLogs.logs = map[*model.Listener]accesslog.Loggers{}
		}
		a.listenerLogs.logs[l] = logs
	}
}
