// Package log is the application log: one slog.Logger per component, each with a level that can be
// changed while running, all writing lines in Envoy's format to one output.
//
// It owns levels, the line format and the log file. It must not know who logs what, nor the admin
// interface that changes levels; it imports no other package of the project.
//
// Locking: a level is one atomic integer, so a disabled line costs one load. It costs no allocation
// either if its attributes are given with LogAttrs, which hot paths should use: the compiler boxes
// the arguments of Debug and the like before the level is asked for. The registry's lock guards only
// the set of components; the output's lock is held for one write.
package log

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

// Levels that Envoy has and slog has not. slog's own Debug, Info, Warn and Error are Envoy's debug,
// info, warning and error.
const (
	LevelTrace    slog.Level = -8
	LevelCritical slog.Level = 12
	// LevelOff is above every level that a line can have.
	LevelOff slog.Level = 16
)

// Options say how a registry starts. The zero value logs at info to standard error in Envoy's
// default format.
type Options struct {
	// Level is the level of every component not named in Components.
	Level slog.Level
	// Components are levels by component name (ParseComponentLevels).
	Components map[string]slog.Level
	// Format is the line format; nil means DefaultPattern.
	Format *Format
	// Output receives one Write per line, serialised by the registry; nil means standard error.
	// OpenFile gives one that can be reopened.
	Output io.Writer
}

// Registry is the set of component loggers with their levels. It is safe for concurrent use.
type Registry struct {
	out    *output
	format *Format

	mu         sync.Mutex
	level      slog.Level // of components still to be made
	components map[string]*component
}

type component struct {
	level  slog.LevelVar
	logger *slog.Logger
}

// New makes a registry with Envoy's component names and those of opts.Components.
func New(opts Options) *Registry {
	r := &Registry{
		out:        &output{w: opts.Output},
		format:     opts.Format,
		level:      opts.Level,
		components: make(map[string]*component),
	}
	if r.out.w == nil {
		r.out.w = os.Stderr
	}
	if r.format == nil {
		r.format = defaultFormat()
	}
	for _, name := range componentNames() {
		r.add(name)
	}
	for name, level := range opts.Components {
		r.add(name).level.Set(level)
	}
	return r
}

// Logger gives the logger of a component, which is added to the registry if it is new.
func (r *Registry) Logger(name string) *slog.Logger {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(name).logger
}

// List gives the level of every component.
func (r *Registry) List() map[string]slog.Level {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]slog.Level, len(r.components))
	for name, c := range r.components {
		out[name] = c.level.Level()
	}
	return out
}

// Names lists the components by name.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.List())) }

// Set changes the level of one component. An unknown name is an error and changes nothing.
func (r *Registry) Set(name string, level slog.Level) error {
	return r.SetSome(map[string]slog.Level{name: level})
}

// SetSome changes the levels of the named components, or of none if a name is unknown.
func (r *Registry) SetSome(levels map[string]slog.Level) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var unknown []string
	for name := range levels {
		if r.components[name] == nil {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) != 0 {
		slices.Sort(unknown)
		return fmt.Errorf("set log level: unknown logger %s", strings.Join(unknown, ", "))
	}
	for name, level := range levels {
		r.components[name].level.Set(level)
	}
	return nil
}

// SetAll changes the level of every component, also of those still to be made.
func (r *Registry) SetAll(level slog.Level) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.level = level
	for _, c := range r.components {
		c.level.Set(level)
	}
}

// add makes a component unless it exists. The caller holds mu, or is New.
func (r *Registry) add(name string) *component {
	if c := r.components[name]; c != nil {
		return c
	}
	name = strings.Clone(name)
	c := &component{}
	c.level.Set(r.level)
	c.logger = slog.New(&handler{component: name, level: &c.level, out: r.out, format: r.format})
	r.components[name] = c
	return c
}

// componentNames are the loggers that Envoy v1.32 has (source: its Logger::Id list).
func componentNames() []string {
	return []string{
		"admin", "alternate_protocols_cache", "aws", "assert", "backtrace", "basic_auth", "cache_filter",
		"client", "config", "connection", "conn_handler", "credential_injector",
		"decompression", "dns", "dubbo", "ext_authz", "ext_proc", "envoy_bug", "rocketmq", "file", "filter",
		"forward_proxy", "geolocation", "golang", "grpc", "happy_eyeballs", "hc", "health_checker",
		"http", "http2", "hystrix", "init", "io", "jwt", "kafka", "key_value_store", "lua", "main",
		"matcher", "misc", "mongo", "multi_connection", "oauth2", "quic", "quic_stream", "pool",
		"rate_limit_quota", "rbac", "rds", "redis", "router", "runtime", "stats", "stats_sinks", "secret", "tap",
		"testing", "thrift", "tracing", "upstream", "udp", "wasm", "websocket",
	}
}
