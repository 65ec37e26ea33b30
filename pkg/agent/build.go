package agent

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/model"
	weirruntime "github.com/weir-proxy/weir/pkg/config/runtime"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/kernel/source"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/http/h1"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/relay"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// build makes every part; nothing listens, dials or attaches yet.
func build(o *options.Options, cfg *Configuration) (*Agent, error) {
	if o.UseDynamicBaseID {
		o.BaseID = uint(os.Getpid()) // no other weir of this host has it
	}
	a := &Agent{opt: o, cfg: cfg, start: time.Now(), quit: make(chan struct{}), localAddr: findLocalAddress(o.LocalAddressIPv6)}
	a.state.Store(statePreInitializing)
	a.secrets.Store(&model.Set[*model.Secret]{})
	a.routes.Store(&model.Set[*model.RouteConfig]{})
	a.filters.Store(&model.Set[*model.FilterConfig]{})
	a.scopes.Store(&model.Set[*model.ScopeSet]{})
	a.hosts.Store(&model.Set[*model.HostSet]{})
	if err := a.openLog(); err != nil {
		return nil, err
	}
	watch, err := filewatch.New()
	if err != nil {
		return nil, err
	}
	a.watch = watch
	if a.stats, err = newStats(o, cfg.Static, overflowLog(a.logs.Logger("stats"))); err != nil {
		return nil, err
	}
	root := a.stats.Root()
	a.server = newServerStats(root, cfg)
	a.server.epoch.Set(uint64(o.RestartEpoch))
	a.firstStart, a.parent.log, a.parent.shares = a.start, a.log, func() bool { return a.capture.inherits() }
	if a.runtime, err = weirruntime.New(weirruntime.Options{
		Layers: cfg.Static.Runtime, ServiceCluster: cfg.Static.Node.Cluster, Stats: root, Log: a.logs.Logger("runtime"), Watch: watch,
	}); err != nil {
		return nil, err
	}
	a.wheel = timer.New()
	if a.poller, err = conn.NewPoller(); err != nil {
		return nil, err
	}
	a.buffers, a.relays = h1.NewBuffers(), &relay.Pool{}
	a.access = accesslog.NewManager(accesslog.Options{FlushInterval: o.FileFlushInterval, Stats: root, Runtime: a.runtime.Readers(), Dial: a.dialControlPlane, Node: a.node})
	a.buildProxy(root)
	a.buildConfiguration(root)
	if a.flusher, err = a.newFlusher(); err != nil {
		return nil, err
	}
	return a, nil
}

// buildConfiguration makes what the configuration comes through.
func (a *Agent) buildConfiguration(root *stats.Scope) {
	a.runtime.Notify(a.runtimeChanged)
	a.store = store.New(store.Options{
		Translate: a.cfg.Translator, Publish: a.publish, Stats: root, Log: a.logs.Logger("config"), Watch: a.watch,
		RejectUnknown: a.opt.RejectUnknownDynamic, IgnoreUnknown: a.opt.IgnoreUnknownDynamic,
	})
	a.channels = newChannels(a)
	a.sources = xds.NewSources(xds.SourcesOptions{
		ADS: a.cfg.Static.ADS, Authorities: a.cfg.Static.Authorities, NodeContext: a.cfg.Static.NodeContext,
		Dial: a.dialControlPlane, HTTP: a.restTransport, Stats: root, Node: a.node, Handler: a.runtime.Handler(a.store), Log: a.logs.Logger("config"), Watch: a.watch,
		RejectUnknown: a.opt.RejectUnknownDynamic,
	})
	a.store.SetSources(a.sources)
}

// buildProxy makes what connections go through.
func (a *Agent) buildProxy(root *stats.Scope) {
	a.capture = newCapture(a.logs.Logger("intercept"), a.cfg.Static.Interception)
	a.capture.persistence.instance = instanceOf(a.opt.BaseID)
	a.capture.newDecisions(root, a.cfg.Static.Interception)
	strategy := listener.DrainGradual
	if a.opt.DrainImmediately {
		strategy = listener.DrainImmediate
	}
	a.listeners = listener.New(listener.Options{
		Stats: root, Log: a.logs.Logger("conn_handler"), Wheel: a.wheel, Poller: a.poller, NewFilter: a.newFilter, FilterConfig: a.filterConfig, Secrets: a, OriginalDst: a.capture, SourceAddr: sourceAddr(source.TCP), Loops: a.capture.inbound,
		AccessLog: a.listenerAccessLog, Stopping: a.retireCapture, DrainTime: max(a.opt.DrainTime, time.Millisecond), DrainStrategy: strategy, Runtime: a.runtime.Readers(), Inherit: a.inherit, CaptureMark: a.capture.mark(),
	})
	a.udp = a.newUDP(root)
	a.capture.listeners, a.capture.inbound.listeners = a.listeners, a.listeners
	options := a.clusterOptions(root)
	a.capture.services = newServices(a.logs.Logger("intercept"), root, a.runtime.Readers(), func() *cluster.Manager { return a.clusters })
	options.Changed = a.capture.services.changed
	a.clusters = cluster.New(options)
	a.capture.namespaces.vacate, a.capture.namespaces.self = a.clusters.Vacate, a.listeners.SelfIn
	a.health = a.newHealthDiscovery(root)
	a.acceleration = a.newAcceleration(root)
}

// clusterOptions are what clusters work with, those of the configuration and those that a management server has checked.
func (a *Agent) clusterOptions(root *stats.Scope) cluster.Options {
	return cluster.Options{
		Stats: root, Log: a.logs.Logger("upstream"), Wheel: a.wheel, Poller: a.poller, Secrets: a, Mark: a.capture.mark(),
		Self:       a.listeners.SelfAddrs,
		Passage:    a.capture.inbound,
		HealthGRPC: newGRPCHealth, HealthEvent: a.logHealthEvent, OutlierEvent: a.logOutlier(), Runtime: a.runtime.Readers(),
	}
}

func (a *Agent) openLog() error {
	format := a.opt.LogFormat
	if f := a.cfg.Static.LogFormat; f != "" && format == log.DefaultPattern {
		format = f
	}
	if a.opt.LogFormatEscaped {
		format = strings.ReplaceAll(format, "%v", "%_")
	}
	parsed, err := log.ParseFormat(format)
	if err != nil {
		return fmt.Errorf("--log-format: %w", err)
	}
	o := log.Options{Level: a.opt.LogLevel, Format: parsed}
	if a.opt.LogPath != "" {
		if a.logFile, err = log.OpenFile(a.opt.LogPath); err != nil {
			return fmt.Errorf("--log-path: %w", err)
		}
		o.Output = a.logFile
	}
	a.logs = log.New(o)
	a.log = a.logs.Logger("main")
	if err := a.logs.SetSome(a.opt.ComponentLogLevels); err != nil {
		return fmt.Errorf("--component-log-level: %w", err)
	}
	return nil
}
