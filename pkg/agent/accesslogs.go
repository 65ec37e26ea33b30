package agent

import (
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

// openListenerLogs opens the access logs of the snapshot's listeners and forgets those of others.
func (a *Agent) openListenerLogs(snap *model.Snapshot) {
	a.listenerLogs.mu.Lock()
	defer a.listenerLogs.mu.Unlock()
	next := map[*model.Listener]accesslog.Loggers{}
	for name, l := range snap.Listeners.All() {
		if len(l.AccessLogs) == 0 {
			continue
		}
		if logs, ok := a.listenerLogs.logs[l]; ok {
			next[l] = logs
			continue
		}
		logs, err := a.access.Build(l.AccessLogs)
		if err != nil {
			a.log.Error("access log of a listener is not written", "listener", name, "error", err)
			continue
		}
		next[l] = logs
	}
	a.listenerLogs.logs = next
}
