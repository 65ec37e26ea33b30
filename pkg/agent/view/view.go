// Package view shows the parts of weir to the administration interface: it turns what the configuration store, the clusters,
// the listeners and the kernel side know into the messages of envoy.admin.v3.
//
// It owns that translation. It must not know HTTP, and it changes nothing that it looks at. Everything is built for each
// request; nothing here holds state.
package view

import (
	"net/netip"
	"runtime"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/agent/version"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/observe/log"
)

// Server tells about the process.
type Server struct {
	// Started is when the process started.
	Started time.Time
	// FirstStarted is when the first of the processes did of which each took over from the one before.
	FirstStarted time.Time
	// Handover names what a next process must agree upon to take over, "disabled" when none may.
	Handover string
	// Flags are the parsed command line.
	Flags *options.Options
	// NodeOf gives the node of the bootstrap; nil while there is none.
	NodeOf func() *corev3.Node
	// StateOf gives the state, a name of admin.v3.ServerInfo.State.
	StateOf func() string
}

var _ admin.ServerInfo = (*Server)(nil)

// State implements admin.ServerInfo.
func (s *Server) State() string { return s.StateOf() }

// Uptime implements admin.ServerInfo.
func (s *Server) Uptime() time.Duration { return time.Since(s.Started) }

// UptimeAllEpochs implements admin.ServerInfo.
func (s *Server) UptimeAllEpochs() time.Duration { return time.Since(s.FirstStarted) }

// HotRestartVersion implements admin.ServerInfo.
func (s *Server) HotRestartVersion() string { return s.Handover }

// Version implements admin.ServerInfo.
func (s *Server) Version() string { return version.String() }

// Node implements admin.ServerInfo.
func (s *Server) Node() *corev3.Node { return s.NodeOf() }

// Options implements admin.ServerInfo.
func (s *Server) Options() *adminv3.CommandLineOptions { return CommandLine(s.Flags) }

// CommandLine is the command line as /server_info shows it.
func CommandLine(o *options.Options) *adminv3.CommandLineOptions {
	out := &adminv3.CommandLineOptions{
		BaseId:                     uint64(o.BaseID),
		UseDynamicBaseId:           o.UseDynamicBaseID,
		BaseIdPath:                 o.BaseIDPath,
		Concurrency:                concurrency(o),
		ConfigPath:                 o.ConfigPath,
		ConfigYaml:                 o.ConfigYAML,
		AllowUnknownStaticFields:   o.AllowUnknownStatic,
		RejectUnknownDynamicFields: o.RejectUnknownDynamic,
		IgnoreUnknownDynamicFields: o.IgnoreUnknownDynamic,
		AdminAddressPath:           o.AdminAddressPath,
		LogLevel:                   log.LevelName(o.LogLevel),
		ComponentLogLevel:          o.ComponentLogText,
		LogFormat:                  o.LogFormat,
		LogFormatEscaped:           o.LogFormatEscaped,
		LogPath:                    o.LogPath,
		ServiceCluster:             o.ServiceCluster,
		ServiceNode:                o.ServiceNode,
		ServiceZone:                o.ServiceZone,
		FileFlushInterval:          durationpb.New(o.FileFlushInterval),
		DrainTime:                  durationpb.New(o.DrainTime),
		ParentShutdownTime:         durationpb.New(o.ParentShutdownTime),
		SkipHotRestartOnNoParent:   o.SkipNoParent,
		SkipHotRestartParentStats:  o.SkipParentStats,
		DisableHotRestart:          o.HotRestartDisabled,
		EnableMutexTracing:         o.MutexTracing,
		RestartEpoch:               uint32(o.RestartEpoch),
		CpusetThreads:              o.CPUSetThreads,
		DisabledExtensions:         o.DisabledExtensions,
		EnableFineGrainLogging:     o.FineGrainLogging,
		SocketPath:                 o.SocketPath,
		SocketMode:                 o.SocketMode,
		EnableCoreDump:             o.CoreDump,
	}
	if o.LocalAddressIPv6 {
		out.LocalAddressIpVersion = adminv3.CommandLineOptions_v6
	}
	if o.DrainImmediately {
		out.DrainStrategy = adminv3.CommandLineOptions_Immediate
	}
	switch o.Mode {
	case options.Validate:
		out.Mode = adminv3.CommandLineOptions_Validate
	case options.InitOnly:
		out.Mode = adminv3.CommandLineOptions_InitOnly
	}
	for _, tag := range o.StatsTags {
		out.StatsTag = append(out.StatsTag, tag.Name+":"+tag.Value)
	}
	return out
}

// concurrency is what the flag asks for, or what the process takes without it.
func concurrency(o *options.Options) uint32 {
	if o.Concurrency > 0 {
		return uint32(o.Concurrency)
	}
	return uint32(runtime.GOMAXPROCS(0))
}

func socketAddress(a netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

func pipeAddress(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}
