// Package options parses weir's command line, which is Envoy's (v1.32).
//
// It owns the list of flags, their defaults and which of them have no meaning for weir. It must not start anything.
package options

import (
	"log/slog"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/log"
)

// Mode is what the process is to do with its configuration.
type Mode string

// Modes.
const (
	Serve    Mode = "serve"
	Validate Mode = "validate"
	InitOnly Mode = "init_only"
)

// Options are the parsed command line.
type Options struct {
	ConfigPath string
	ConfigYAML string
	Mode       Mode

	ServiceNode, ServiceCluster, ServiceZone string

	LogLevel           slog.Level
	ComponentLogLevels map[string]slog.Level
	// ComponentLogText is --component-log-level as given.
	ComponentLogText string
	LogFormat        string
	LogFormatEscaped bool
	LogPath          string

	// Concurrency bounds how many threads run Go code at once; 0 leaves it to the runtime.
	Concurrency        uint
	AdminAddressPath   string
	LocalAddressIPv6   bool
	BaseID             uint
	BaseIDPath         string
	UseDynamicBaseID   bool
	RestartEpoch       uint
	FileFlushInterval  time.Duration
	DrainTime          time.Duration
	DrainImmediately   bool
	ParentShutdownTime time.Duration

	AllowUnknownStatic   bool
	RejectUnknownDynamic bool
	IgnoreUnknownDynamic bool
	// RejectUnsupported makes configuration without effect an error.
	RejectUnsupported  bool
	DisabledExtensions []string
	StatsTags          []StatsTag
	SocketPath         string
	SocketMode         uint32
	HotRestartDisabled bool
	// SkipNoParent starts without taking over when there is nobody to take over from.
	SkipNoParent bool
	// SkipParentStats begins statistics anew when taking over.
	SkipParentStats  bool
	MutexTracing     bool
	CPUSetThreads    bool
	CoreDump         bool
	FineGrainLogging bool

	// Version and Help ask for that text and nothing else.
	Version, Help, HotRestartVersion bool
	// WithoutMeaning are the flags that were given and have no effect here, each with the reason.
	WithoutMeaning []string
}

// StatsTag is a fixed tag of all statistics (--stats-tag name:value).
type StatsTag struct{ Name, Value string }

// defaults are Envoy's.
func defaults() *Options {
	return &Options{
		Mode:               Serve,
		LogLevel:           slog.LevelInfo,
		LogFormat:          log.DefaultPattern,
		FileFlushInterval:  10 * time.Second,
		DrainTime:          600 * time.Second,
		ParentShutdownTime: 900 * time.Second,
		SocketPath:         "@envoy_domain_socket",
		SocketMode:         0o600,
	}
}
