package options

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/log"
)

// flag describes one flag.
type flag struct {
	name, short string
	// value names the argument in the help; empty for a switch.
	value string
	help  string
	// without is why the flag has no effect in weir; empty when it has one.
	without string
	set     func(o *Options, v string) error
}

// flags returns all flags in the order the help shows them.
func flags() []flag {
	return append(append(configFlags(), logFlags()...), append(lifeFlags(), otherFlags()...)...)
}

func configFlags() []flag {
	return []flag{
		{name: "config-path", short: "c", value: "FILE", help: "bootstrap configuration (.yaml, .json, .pb, .pb_text)", set: text(func(o *Options) *string { return &o.ConfigPath })},
		{name: "config-yaml", value: "YAML", help: "inline configuration, merged over --config-path", set: text(func(o *Options) *string { return &o.ConfigYAML })},
		{name: "mode", value: "MODE", help: "serve (default), validate, or init_only", set: setMode},
		{name: "allow-unknown-static-fields", help: "unknown fields of the bootstrap are warnings instead of errors", set: on(func(o *Options) *bool { return &o.AllowUnknownStatic })},
		{name: "allow-unknown-fields", help: "alias of --allow-unknown-static-fields", set: on(func(o *Options) *bool { return &o.AllowUnknownStatic })},
		{name: "reject-unknown-dynamic-fields", help: "xDS resources with unknown fields are rejected", set: on(func(o *Options) *bool { return &o.RejectUnknownDynamic })},
		{name: "ignore-unknown-dynamic-fields", help: "unknown fields of xDS resources are not logged", set: on(func(o *Options) *bool { return &o.IgnoreUnknownDynamic })},
		{name: "reject-unsupported", help: "configuration that weir would not act on is an error (weir's own flag)", set: on(func(o *Options) *bool { return &o.RejectUnsupported })},
		{name: "service-node", value: "ID", help: "node id towards control planes", set: text(func(o *Options) *string { return &o.ServiceNode })},
		{name: "service-cluster", value: "NAME", help: "node cluster towards control planes", set: text(func(o *Options) *string { return &o.ServiceCluster })},
		{name: "service-zone", value: "ZONE", help: "zone of the node's locality", set: text(func(o *Options) *string { return &o.ServiceZone })},
		{name: "admin-address-path", value: "FILE", help: "write the address of the admin interface to FILE", set: text(func(o *Options) *string { return &o.AdminAddressPath })},
		{name: "local-address-ip-version", value: "v4|v6", help: "kind of the local address (default v4)", set: setIPVersion},
		{name: "disable-extensions", value: "A,B", help: "extensions that are refused, as category/name or name", set: func(o *Options, v string) error { o.DisabledExtensions = split(v); return nil }},
		{name: "stats-tag", value: "NAME:VALUE", help: "fixed tag of all statistics; may be repeated", set: setStatsTag},
	}
}

func logFlags() []flag {
	return []flag{
		{name: "log-level", short: "l", value: "LEVEL", help: "trace, debug, info (default), warning, error, critical, off", set: setLogLevel},
		{name: "component-log-level", value: "A:LEVEL,...", help: "levels of single components", set: setComponentLevels},
		{name: "log-format", value: "PATTERN", help: "spdlog pattern of log lines", set: text(func(o *Options) *string { return &o.LogFormat })},
		{name: "log-format-escaped", help: "escape control characters in log messages", set: on(func(o *Options) *bool { return &o.LogFormatEscaped })},
		{name: "log-path", value: "FILE", help: "log to FILE instead of stderr", set: text(func(o *Options) *string { return &o.LogPath })},
		{name: "file-flush-interval-msec", value: "MS", help: "access logs are written at least this often (default 10000)", set: millis(func(o *Options) *time.Duration { return &o.FileFlushInterval })},
		{name: "enable-fine-grain-logging", help: "levels by source file", without: "weir's log levels are per component", set: on(func(o *Options) *bool { return &o.FineGrainLogging })},
		{name: "skip-deprecated-logs", help: "", without: "weir does not log deprecated fields twice", set: ignore},
		{name: "file-flush-min-size-kb", value: "KB", help: "", without: "weir flushes access logs at 64 KiB", set: ignore},
	}
}

func lifeFlags() []flag {
	return []flag{
		{name: "concurrency", value: "N", help: "threads that run at once (default: CPUs)", set: number(func(o *Options) *uint { return &o.Concurrency })},
		{name: "drain-time-s", value: "S", help: "time for draining connections (default 600)", set: seconds(func(o *Options) *time.Duration { return &o.DrainTime })},
		{name: "drain-strategy", value: "KIND", help: "gradual (default) or immediate", set: setDrainStrategy},
		{name: "parent-shutdown-time-s", value: "S", help: "time that the weir before has for its connections (default 900)", set: seconds(func(o *Options) *time.Duration { return &o.ParentShutdownTime })},
		{name: "base-id", value: "N", help: "keeps several weirs of one host apart: upgrades, pinned state", set: number(func(o *Options) *uint { return &o.BaseID })},
		{name: "use-dynamic-base-id", help: "a base id that no other weir has", set: on(func(o *Options) *bool { return &o.UseDynamicBaseID })},
		{name: "base-id-path", value: "FILE", help: "write the base id to FILE", set: text(func(o *Options) *string { return &o.BaseIDPath })},
		{name: "restart-epoch", value: "N", help: "take over from the running weir, with its sockets and statistics, when not 0", set: number(func(o *Options) *uint { return &o.RestartEpoch })},
		{name: "disable-hot-restart", help: "neither take over from another weir nor be taken over from", set: on(func(o *Options) *bool { return &o.HotRestartDisabled })},
		{name: "hot-restart-version", help: "print the hot restart version", set: on(func(o *Options) *bool { return &o.HotRestartVersion })},
		{name: "skip-hot-restart-on-no-parent", help: "start without when there is no weir to take over from", set: on(func(o *Options) *bool { return &o.SkipNoParent })},
		{name: "skip-hot-restart-parent-stats", help: "statistics begin anew instead of going on from those of the weir before", set: on(func(o *Options) *bool { return &o.SkipParentStats })},
		{name: "socket-path", value: "PATH", help: "begin of the name of the socket that a next weir takes over by", set: text(func(o *Options) *string { return &o.SocketPath })},
		{name: "socket-mode", value: "MODE", help: "mode of that socket (default 600)", set: setSocketMode},
	}
}

func otherFlags() []flag {
	return []flag{
		{name: "cpuset-threads", help: "as many threads as the cpuset has CPUs", without: "the Go runtime follows the cpuset by itself", set: on(func(o *Options) *bool { return &o.CPUSetThreads })},
		{name: "enable-mutex-tracing", help: "record contention for /contention", set: on(func(o *Options) *bool { return &o.MutexTracing })},
		{name: "enable-core-dump", help: "dump core on a fatal signal", set: on(func(o *Options) *bool { return &o.CoreDump })},
		{name: "version", help: "print the version", set: on(func(o *Options) *bool { return &o.Version })},
		{name: "help", short: "h", help: "print this text", set: on(func(o *Options) *bool { return &o.Help })},
	}
}

func text(at func(*Options) *string) func(*Options, string) error {
	return func(o *Options, v string) error { *at(o) = v; return nil }
}

func on(at func(*Options) *bool) func(*Options, string) error {
	return func(o *Options, _ string) error { *at(o) = true; return nil }
}

func ignore(*Options, string) error { return nil }

func number(at func(*Options) *uint) func(*Options, string) error {
	return func(o *Options, v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return fmt.Errorf("want a whole number, got %q", v)
		}
		*at(o) = uint(n)
		return nil
	}
}

func seconds(at func(*Options) *time.Duration) func(*Options, string) error {
	return duration(at, time.Second)
}

func millis(at func(*Options) *time.Duration) func(*Options, string) error {
	return duration(at, time.Millisecond)
}

func duration(at func(*Options) *time.Duration, unit time.Duration) func(*Options, string) error {
	return func(o *Options, v string) error {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return fmt.Errorf("want a whole number, got %q", v)
		}
		*at(o) = time.Duration(n) * unit
		return nil
	}
}

func setMode(o *Options, v string) error {
	switch m := Mode(v); m {
	case Serve, Validate, InitOnly:
		o.Mode = m
		return nil
	}
	return fmt.Errorf("want serve, validate or init_only, got %q", v)
}

func setIPVersion(o *Options, v string) error {
	if v != "v4" && v != "v6" {
		return fmt.Errorf("want v4 or v6, got %q", v)
	}
	o.LocalAddressIPv6 = v == "v6"
	return nil
}

func setDrainStrategy(o *Options, v string) error {
	if v != "gradual" && v != "immediate" {
		return fmt.Errorf("want gradual or immediate, got %q", v)
	}
	o.DrainImmediately = v == "immediate"
	return nil
}

func setSocketMode(o *Options, v string) error {
	n, err := strconv.ParseUint(v, 8, 12)
	if err != nil {
		return fmt.Errorf("want an octal mode such as 0600, got %q", v)
	}
	o.SocketMode = uint32(n)
	return nil
}

func setStatsTag(o *Options, v string) error {
	name, value, ok := strings.Cut(v, ":")
	if !ok || name == "" || value == "" {
		return fmt.Errorf("want name:value, got %q", v)
	}
	o.StatsTags = append(o.StatsTags, StatsTag{name, value})
	return nil
}

func setLogLevel(o *Options, v string) error {
	level, err := log.ParseLevel(v)
	if err != nil {
		return err
	}
	o.LogLevel = level
	return nil
}

func setComponentLevels(o *Options, v string) error {
	levels, err := log.ParseComponentLevels(v)
	if err != nil {
		return err
	}
	o.ComponentLogLevels, o.ComponentLogText = levels, v
	return nil
}

func split(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' })
}
