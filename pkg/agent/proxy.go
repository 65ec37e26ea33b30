package agent

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/hcm"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
)

// newFilter makes the terminal filter of a filter chain.
func (a *Agent) newFilter(l *model.Listener, fc *model.FilterChain, f *model.NetworkFilter) (filter.Network, error) {
	switch cfg := f.Config.(type) {
	case *model.HTTPConnectionManager:
		return a.newHTTP(l, cfg)
	case *model.TCPProxy:
		return a.newTCPProxy(cfg)
	}
	return nil, fmt.Errorf("listener %s, filter chain %s: filter %s cannot end a chain", l.Name, fc.Name, f.Name)
}

// httpManager is a connection manager with the statistics scope that was made for it.
type httpManager struct {
	*hcm.Manager
	scope *stats.Scope
}

// Close implements io.Closer: the listener calls it after the last connection of the filter chain.
func (m *httpManager) Close() error {
	m.Manager.Close()
	m.scope.Close()
	return nil
}

func (a *Agent) newHTTP(l *model.Listener, cfg *model.HTTPConnectionManager) (filter.Network, error) {
	scope := a.stats.Root().Scope("listener." + listener.StatPrefix(l))
	m, err := hcm.New(cfg, hcm.Deps{
		Stats: a.stats.Root(), ListenerStats: scope, Log: a.logs.Logger("http"), Wheel: a.wheel,
		Routes: a.route, Scope: a.scope, Hosts: a.hostSet, OnDemand: a.store, Clusters: hcm.Clusters(a.clusters), AccessLogs: a.access, Buffers: a.buffers,
		LocalAddr: a.localAddr, ServiceCluster: a.cfg.Static.Node.Cluster, ServiceNode: a.cfg.Static.Node.ID,
		Runtime: a.runtime.Readers(), BufferLimit: l.PerConnectionBufferLimit, HealthFailed: a.unwell.Load,
		DrainFailed: !l.DrainModifyOnly, DrainClose: func() bool { return a.listeners.DrainClose(l) }, FilterConfig: a.filterConfig,
	})
	if err != nil {
		scope.Close()
		return nil, err
	}
	return &httpManager{m, scope}, nil
}

// node is what control planes are told of this process. It is shared, and must not be written to: every request may carry it.
func (a *Agent) node() *corev3.Node { return a.cfg.Bootstrap.GetNode() }
