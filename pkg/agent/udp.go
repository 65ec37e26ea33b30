package agent

import (
	"errors"
	"fmt"
	"net"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/source"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter/udp/dnsfilter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/udp/udpproxy"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/dns"
)

// newUDP makes the manager of the listeners of datagrams.
func (a *Agent) newUDP(root *stats.Scope) *udp.Manager {
	a.datagrams = newDatagramCapture(a.logs.Logger("intercept"), a.capture.wanted, a.capture.mark(), &a.capture.persistence)
	a.datagrams.udp = udp.New(udp.Options{
		Stats: root, Log: a.logs.Logger("udp"), NewHandler: a.newUDPHandler, OriginalDst: a.datagrams.OriginalDst, SourceAddr: sourceAddr(source.UDP),
		Inherit:     func(key string) net.PacketConn { return a.before.ClaimPacket(key) },
		CaptureMark: a.capture.mark(),
	})
	a.capture.datagrams = a.datagrams
	a.capture.namespaces.users = append(a.capture.namespaces.users, a.datagrams)
	return a.datagrams.udp
}

// newUDPHandler makes what handles the datagrams of a listener.
func (a *Agent) newUDPHandler(l *model.Listener) (udp.Handler, error) {
	if len(l.ListenerFilters) != 1 {
		return nil, fmt.Errorf("%d filters to handle datagrams, there must be one", len(l.ListenerFilters))
	}
	f := l.ListenerFilters[0]
	switch cfg := f.Config.(type) {
	case *model.UDPProxy:
		return a.newUDPProxy(l, cfg)
	case *model.DNSFilter:
		return a.newDNSFilter(l, cfg)
	}
	return nil, fmt.Errorf("filter %s cannot handle datagrams", f.Name)
}

func (a *Agent) newUDPProxy(l *model.Listener, cfg *model.UDPProxy) (udp.Handler, error) {
	deps := udpproxy.Deps{
		Stats: a.stats.Root(), Log: a.logs.Logger("udp"), Wheel: a.wheel, Listener: l.Name,
		Cluster: func(name string) udpproxy.Cluster {
			if c := a.clusters.Get(name); c != nil {
				return c
			}
			return nil
		},
	}
	sessions, err := a.access.Build(cfg.AccessLogs)
	if err != nil {
		return nil, err
	}
	whole, err := a.access.Build(cfg.ProxyAccessLogs)
	if err != nil {
		return nil, err
	}
	if len(sessions) > 0 {
		deps.SessionLog, deps.Caller = sessionLog(sessions), a.capture.sender
	}
	if len(whole) > 0 {
		deps.ProxyLog = func(info *streaminfo.Info) { whole.Log(&format.Context{Info: info}) }
	}
	return udpproxy.New(cfg, deps), nil
}

func (a *Agent) newDNSFilter(l *model.Listener, cfg *model.DNSFilter) (udp.Handler, error) {
	deps := dnsfilter.Deps{
		Stats: a.stats.Root(), Log: a.logs.Logger("udp"), Listener: l.Name,
		Hosts: func(name string) []*upstream.Host {
			if c := a.clusters.Get(name); c != nil {
				return c.Hosts()
			}
			return nil
		},
	}
	if cfg.Forward != nil {
		deps.Resolver = dns.NewQueries(a.stats.Root()).Of(dns.New(&cfg.Forward.Resolver, dns.System()))
	}
	logs, err := a.access.Build(cfg.AccessLogs)
	if err != nil {
		return nil, err
	}
	if len(logs) > 0 {
		deps.AccessLog = logs.Log
	}
	return dnsfilter.New(cfg, deps), nil
}

func sessionLog(logs accesslog.Loggers) func(*streaminfo.Info, bool) {
	return func(info *streaminfo.Info, final bool) {
		occasion := format.UDPPeriodic
		if final {
			occasion = format.UDPSessionEnd
		}
		logs.Log(&format.Context{Info: info, Type: occasion})
	}
}

// listenerOf is the name of the listener that an error is about; empty when it is about none.
func listenerOf(err error) string {
	if e, ok := errors.AsType[*listener.Error](err); ok {
		return e.Listener
	}
	if e, ok := errors.AsType[*udp.Error](err); ok {
		return e.Listener
	}
	return ""
}
