package agent

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/lifecycle/privilege"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// adminTimeout bounds the end of the admin interface: whoever polls it gets the answer under way.
const adminTimeout = 2 * time.Second

// startAdmin opens the admin interface if one is configured.
func (a *Agent) startAdmin() error {
	cfg := a.cfg.Static.Admin
	if cfg == nil || (cfg.Pipe == "" && !cfg.Address.IsValid()) {
		return nil
	}
	node := a.node()
	logs, err := a.access.Build(cfg.AccessLogs)
	if err != nil {
		return fmt.Errorf("admin.access_log: %w", err)
	}
	flush := a.updateGauges
	if a.cfg.Static.StatsFlushOnAdmin {
		flush = a.flushStats
	}
	server, err := admin.New(admin.Options{
		Address: cfg.Address, Pipe: cfg.Pipe, Mode: fs.FileMode(cfg.PipeMode), AddressPath: a.opt.AdminAddressPath,
		SetSocketOptions: adminSocketOptions(cfg),
		ProfilePath:      cfg.ProfilePath, MutexTracing: a.opt.MutexTracing,
		Stats: a.stats, Log: a.logs, Control: control{a}, FlushStats: flush,
		AllowPath: allowPath(cfg.AllowPaths), AccessLog: a.adminAccessLog(logs),
		Server:       &view.Server{Started: a.start, FirstStarted: a.firstStart, Handover: HandoverVersion(a.opt), Flags: a.opt, NodeOf: func() *corev3.Node { return node }, StateOf: a.stateName},
		Clusters:     view.Clusters{All: a.countedClusters},
		Listeners:    view.Listeners{Snapshot: a.store.Snapshot, Bound: a.bound},
		ConfigDump:   view.Config{Dump: a.store.Dump, Clusters: a.clusters.All, Draining: a.draining},
		ClientStatus: view.Config{Dump: a.store.Dump},
		InitDump:     view.InitDump{Config: view.Config{Dump: a.store.Dump}, RuntimeLayers: a.runtime.Waiting},
		Certificates: view.Config{Dump: a.store.Dump},
		Runtime:      view.Runtime{Of: a.runtime},
		Interception: view.Interception{Interceptor: a.capture.view, Unavailable: a.capture.problem, Offload: a.capture.services.status, Namespaces: a.capture.namespaces.list, Acceleration: a.acceleration.Status, Datagrams: a.datagrams.view, Inbound: a.capture.inbound.view, Privileges: privilege.Read, Persistence: a.capture.persisted},
		Connections:  a.connections(),
		Events:       eventStream{a.capture.decisions},
		Explainer:    explainer{a.newExplainer(), func() { a.capture.services.collect(everything) }},
		Findings:     view.Findings{Static: view.StaticFindings(a.cfg.Findings), Dump: a.store.Dump},
	})
	if err != nil {
		return fmt.Errorf("open admin interface: %w", err)
	}
	a.admin = server
	a.adminDone = make(chan struct{})
	go func() {
		defer close(a.adminDone)
		if err := server.Run(); err != nil {
			a.log.Error("the admin interface ended", "error", err)
		}
	}()
	return nil
}

// allowPath tells the paths that the configuration limits the admin interface to; nil allows all.
func allowPath(allowed []model.StringMatcher) func(string) bool {
	if len(allowed) == 0 {
		return nil
	}
	return func(path string) bool {
		return slices.ContainsFunc(allowed, func(m model.StringMatcher) bool { return match.String(&m, path) })
	}
}

// adminSocketOptions sets those for the family of the address.
func adminSocketOptions(cfg *translate.Admin) func(fd int, late bool) error {
	v4 := cfg.Pipe == "" && cfg.Address.Addr().Unmap().Is4()
	v6 := cfg.Pipe == "" && !v4
	var options []model.SocketOption
	for _, o := range cfg.SocketOptions {
		if o.IPv4Only && !v4 || o.IPv6Only && !v6 {
			continue
		}
		options = append(options, o)
	}
	return func(fd int, late bool) error { return conn.SetOptions(fd, options, late) }
}

// adminAccessLog writes requests to the admin interface as those of any other listener.
func (a *Agent) adminAccessLog(logs accesslog.Loggers) func(*admin.Access) {
	if len(logs) == 0 {
		return nil
	}
	return func(e *admin.Access) {
		request := &message.Request{Method: e.Method, Path: e.Path, Authority: e.Authority}
		addHeaders(&request.Headers, e.RequestHeader)
		if client := a.adminClient(e.Remote.Addr()); client != "" {
			if before, ok := request.Headers.Joined("x-forwarded-for"); ok {
				client = before + "," + client
			}
			request.Headers.Set("x-forwarded-for", client)
		}
		response := &message.Response{Status: e.Status}
		addHeaders(&response.Headers, e.ResponseHeader)
		logs.Log(&format.Context{
			Type: format.DownstreamEnd, Request: request, Response: response,
			Info: &streaminfo.Info{
				Conn: &streaminfo.Connection{
					Remote: e.Remote, DirectRemote: e.Remote, Local: e.Local, BoundLocal: e.Local, Start: e.Start, Listener: "admin",
				},
				Start: e.Start, Duration: e.Duration, Protocol: e.Protocol, ResponseCode: e.Status, Details: "admin_filter_response",
				BytesReceived: uint64(e.Received), BytesSent: uint64(e.Sent),
			},
		})
	}
}

// adminClient is what Envoy appends to x-forwarded-for at its admin interface: the client's address, or this host's for clients
// on the loopback. It is empty for clients of a unix socket.
func (a *Agent) adminClient(remote netip.Addr) string {
	switch {
	case !remote.IsValid():
		return ""
	case remote.IsLoopback() && a.localAddr.IsValid():
		return a.localAddr.String()
	}
	return remote.String()
}

func addHeaders(to *message.Headers, from http.Header) {
	for name, values := range from {
		for _, v := range values {
			to.Add(strings.ToLower(name), v)
		}
	}
}

func (a *Agent) closeAdmin() {
	if a.admin == nil {
		return
	}
	if err := a.capture.decisions.Close(); err != nil { // else who looks at them keeps the interface open
		a.log.Warn("stop telling of decisions", "error", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if err := a.admin.Close(ctx); err != nil {
		a.log.Warn("close admin interface", "error", err)
	}
	<-a.adminDone
}

// bound are the addresses that a listener is really bound to.
func (a *Agent) bound(name string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, l := range a.listeners.List() {
		if l.Name != name || l.Draining {
			continue
		}
		for _, text := range l.Addresses {
			if addr, err := netip.ParseAddrPort(text); err == nil { // others are unix sockets
				out = append(out, addr)
			}
		}
	}
	for _, l := range a.udp.List() {
		if l.Name == name {
			out = append(out, l.Addresses...)
		}
	}
	return out
}

// draining are the versions of listeners that drain.
func (a *Agent) draining() []*model.Listener {
	var out []*model.Listener
	for _, l := range a.listeners.List() {
		if l.Draining {
			out = append(out, l.Config)
		}
	}
	return out
}

// control is what the admin interface may do with the process.
type control struct{ a *Agent }

var _ admin.Control = control{}

// Quit implements admin.Control.
func (c control) Quit() { c.a.stop() }

// DrainListeners implements admin.Control.
func (c control) DrainListeners(graceful, inboundOnly, skipExit bool) {
	c.a.listeners.Drain(graceful, inboundOnly, skipExit)
}

// FailHealthcheck implements admin.Control.
func (c control) FailHealthcheck(fail bool) {
	c.a.unwell.Store(fail)
	c.a.setState(c.a.state.Load())
}

// ReopenLogs implements admin.Control.
func (c control) ReopenLogs() { c.a.reopenLogs() }
