// Package agent wires weir together and owns its life: what starts in which order, and stops in reverse.
//
// It is the one package that knows all others; they do not know it. It owns the state of the process (Envoy's
// PRE_INITIALIZING, INITIALIZING, LIVE, DRAINING) and the order in which a new snapshot reaches the clusters, the routes, the
// listeners and the kernel.
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/acceleration"
	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/agent/version"
	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/model"
	weirruntime "github.com/weir-proxy/weir/pkg/config/runtime"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/lifecycle/handover"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/sinks"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/http/h1"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/relay"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// Agent is a weir process.
type Agent struct {
	opt *options.Options
	cfg *Configuration

	logFile *log.File
	logs    *log.Registry
	log     *slog.Logger
	stats   *stats.Store
	server  *serverStats
	expiry  certExpiry
	flusher *sinks.Flusher
	wheel   *timer.Wheel
	poller  *conn.Poller
	collect collector
	buffers *h1.Buffers

	localAddr netip.Addr
	access    *accesslog.Manager
	runtime   *weirruntime.Runtime
	watch     *filewatch.Watcher

	relays       *relay.Pool
	listenerLogs listenerLogs

	clusters *cluster.Manager
	// health is nil without a management server that has hosts checked.
	health    *healthDiscovery
	listeners *listener.Manager
	udp       *udp.Manager
	datagrams *datagramCapture
	capture   *capture
	// acceleration has payload go past TCP, where that was asked for.
	acceleration *acceleration.Acceleration
	// before is the weir that this one takes over from, handover waits for the one that takes over from this one; mostly nil.
	before    *handover.Predecessor
	handover  *handover.Server
	parent    parentStats
	store     *store.Store
	sources   *xds.Sources
	admin     *admin.Server
	adminDone chan struct{}
	// channels to control planes, by service.
	channels *channels

	start time.Time
	// firstStart is when the first of the processes started of which each took over from the one before.
	firstStart time.Time
	state      atomic.Int32
	unwell     atomic.Bool // POST /healthcheck/fail
	quit       chan struct{}
	quitOnce   sync.Once
	// background waits for what ends with the work of serve.
	background sync.WaitGroup

	// secrets and routes are what handshakes and requests look names up in.
	secrets atomic.Pointer[model.Set[*model.Secret]]
	routes  atomic.Pointer[model.Set[*model.RouteConfig]]
	// scopes are what SRDS delivered, by source.
	scopes atomic.Pointer[model.Set[*model.ScopeSet]]
	// hosts are what VHDS delivered, by route configuration.
	hosts atomic.Pointer[model.Set[*model.HostSet]]
	// filters are the filter configurations of ECDS.
	filters atomic.Pointer[model.Set[*model.FilterConfig]]

	// mu guards what follows, and orders snapshots against the start of the listeners.
	mu      sync.Mutex
	serving bool
	last    *model.Snapshot
	// relieved is how long this process may go on after another one has taken over; nil before.
	relieved *time.Duration
}

// States of the process, in Envoy's numbers (server.state).
const (
	stateLive            = 0
	stateDraining        = 1
	statePreInitializing = 2
	stateInitializing    = 3
)

// Run reads the configuration and serves until a signal, /quitquitquit or ctx ends it. The error says why it could not start.
func Run(ctx context.Context, o *options.Options) error {
	cfg, err := Configure(o)
	if err != nil {
		return err
	}
	a, err := build(o, cfg)
	if err != nil {
		return err
	}
	defer a.close()
	return a.serve(ctx)
}

// runtimeChanged tells those who do more than look keys up when they need them.
func (a *Agent) runtimeChanged(keys []string) {
	a.clusters.RuntimeChanged(keys)
	a.capture.services.changed("")
}

// obeyFlags acts on the flags that concern the process as a whole.
func (a *Agent) obeyFlags() error {
	if a.opt.Concurrency > 0 {
		runtime.GOMAXPROCS(int(a.opt.Concurrency))
	}
	if a.opt.MutexTracing {
		runtime.SetMutexProfileFraction(100)
	}
	if a.opt.CoreDump {
		debug.SetTraceback("crash")
	}
	if a.opt.BaseIDPath != "" {
		if err := os.WriteFile(a.opt.BaseIDPath, []byte(strconv.FormatUint(uint64(a.opt.BaseID), 10)), 0o644); err != nil {
			return fmt.Errorf("--base-id-path: %w", err)
		}
	}
	a.server.concurrency.Set(uint64(runtime.GOMAXPROCS(0)))
	return nil
}

// Secret finds a secret for TLS handshakes; nil when there is none.
func (a *Agent) Secret(name string) *model.Secret { return a.secrets.Load().Get(name) }

// route finds an RDS route configuration; nil when there is none yet.
func (a *Agent) route(name string) *model.RouteConfig { return a.routes.Load().Get(name) }

// scope finds an SRDS scope by its source and key; nil when there is none.
func (a *Agent) scope(source, key string) *model.Scope { return a.scopes.Load().Get(source).Get(key) }

// hostSet finds the virtual hosts that VHDS delivered for a route configuration; nil when there are none.
func (a *Agent) hostSet(routes string) *model.HostSet { return a.hosts.Load().Get(routes) }

// filterConfig finds a filter configuration of ECDS; nil when there is none yet.
func (a *Agent) filterConfig(name string) *model.FilterConfig { return a.filters.Load().Get(name) }

// publish puts a snapshot in force, make before break: what is referred to comes before what refers to it, and the kernel
// captures for a listener only while there is one.
func (a *Agent) publish(snap *model.Snapshot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.secrets.Store(&snap.Secrets)
	a.clusters.Apply(snap)
	a.hosts.Store(&snap.Hosts)
	a.routes.Store(&snap.Routes)
	a.scopes.Store(&snap.Scopes)
	a.filters.Store(&snap.Filters)
	if a.serving {
		a.applyListeners(snap)
	}
	a.last = snap
}

// applyListeners opens, changes and closes listeners. Called with mu held.
func (a *Agent) applyListeners(snap *model.Snapshot) {
	changed := !snap.Listeners.Same(a.last.Listeners) || snap.Interception != a.last.Interception
	if changed {
		a.openListenerLogs(a.last.Listeners, snap)
		a.capture.shrink(a.last, snap)
		a.datagrams.shrink(a.last, snap)
	}
	for _, err := range slices.Concat(a.listeners.Apply(snap), a.udp.Apply(snap)) {
		a.log.Error("listener is not served", "error", err)
	}
	if changed {
		a.capture.apply(snap)
		a.datagrams.apply(snap)
		a.acceleration.Changed()
	} else {
		a.capture.learn(snap)
	}
}

// retireCapture stops capturing for listeners that are about to stop: all, or the inbound ones.
func (a *Agent) retireCapture(inboundOnly bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if inboundOnly {
		a.capture.retireInbound(a.last)
		if a.last != nil {
			a.datagrams.apply(a.last)
		}
	} else {
		a.capture.retire()
		a.datagrams.retire()
	}
	a.udp.Stop(inboundOnly)
}

// stop asks the process to end.
func (a *Agent) stop() { a.quitOnce.Do(func() { close(a.quit) }) }

// close releases everything, in reverse order of use.
func (a *Agent) close() {
	a.closeHandover()
	a.closeAdmin()
	a.background.Wait()
	a.sources.Close()
	a.health.close()
	a.runtime.Close()
	a.flusher.Close(lastFlush) // while the statistics of listeners are there
	a.listeners.Close()
	a.udp.Close()
	if err := a.access.CloseShared(); err != nil {
		a.log.Warn("send access logs", "error", err)
	}
	a.channels.close()
	a.capture.close()
	a.datagrams.close()
	a.clusters.Close()
	if err := a.poller.Close(); err != nil {
		a.logs.Logger("main").Warn("close poller", "error", err)
	}
	a.acceleration.Close()
	a.collect.stop()
	a.wheel.Close()
	if err := a.watch.Close(); err != nil {
		a.log.Warn("close file watcher", "error", err)
	}
	if err := a.access.Close(); err != nil {
		a.log.Warn("write access logs", "error", err)
	}
	a.log.Info("exiting")
	if a.logFile != nil {
		if err := a.logFile.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "weir: close log: %v\n", err)
		}
	}
}

// announce logs what the command line and the configuration ask for that has no effect.
func (a *Agent) announce() {
	a.log.Info("weir "+version.Build()+" starting", "envoy", version.Envoy, "pid", os.Getpid())
	for _, w := range a.opt.WithoutMeaning {
		a.log.Info("flag without effect", "flag", w)
	}
	for _, w := range a.cfg.Warnings {
		a.log.Warn("configuration: " + w)
	}
	if keys := a.cfg.Static.IdleRuntimeKeys; len(keys) > 0 {
		a.log.Info("runtime keys that nothing reads so far", "keys", strings.Join(keys, " "))
	}
}
