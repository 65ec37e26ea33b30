package translate

import (
	"net/netip"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/runtime"
)

// Static is what a bootstrap configures.
type Static struct {
	// Listeners, Clusters and Secrets in configuration order.
	Listeners []*model.Listener
	Clusters  []*model.Cluster
	Secrets   []*model.Secret
	// Faulty are listeners with errors, as far as they could be translated: what they name and where they listen can be checked.
	Faulty []*model.Listener
	// Interception says what the kernel captures; nil when the bootstrap has no such extension.
	Interception *model.Interception
	// Extensions are the decoded bootstrap extensions, Interception included.
	Extensions []BootstrapExtension
	// Admin is nil when no admin interface was configured.
	Admin *Admin
	Node  Node
	// LDS and CDS say where all dynamic listeners and clusters come from; nil: there are none.
	LDS, CDS *model.Source
	// ADS is the aggregated stream; nil when there is none.
	ADS *model.APISource
	// Authorities say where resources with xdstp names of an authority come from; others come from where their reference
	// says.
	Authorities map[string]*model.Source
	// NodeContext are the context parameters that each xdstp name gets.
	NodeContext map[string]string
	// HDS is the management server that asks for health checks; nil when there is none.
	HDS *model.APISource
	// LoadStats is the management server that load reports are sent to; nil when there is none.
	LoadStats *model.APISource
	// OutlierLog is the path of the event log of outlier detection; "" writes none.
	OutlierLog string
	// StatsFlushInterval between two flushes of the statistics sinks. Default 5 s; 0 when StatsFlushOnAdmin is set.
	StatsFlushInterval time.Duration
	// StatsFlushOnAdmin flushes only when the admin interface reads statistics.
	StatsFlushOnAdmin bool
	Stats             StatsConfig
	// Sinks are where statistics are shipped to, in order.
	Sinks []StatsSink
	// Runtime layers in order; later ones win. With nothing configured it is an empty static layer and an admin layer.
	Runtime []runtime.Layer
	// IdleRuntimeKeys are keys of static layers that neither weir nor anything in the bootstrap reads, in order. Resources that
	// come later may.
	IdleRuntimeKeys []string
	// ServerVersion is what the gauge server.version tells in place of weir's; nil keeps that.
	ServerVersion *uint64
	// LogFormat is the pattern of the application log (application_log_config); empty keeps the default.
	LogFormat string
}

// BootstrapExtension is a decoded entry of bootstrap_extensions.
type BootstrapExtension struct {
	Name, TypeURL string
	Config        any
	// Path of its configuration in the bootstrap.
	Path string
}

// Admin configures the admin interface.
type Admin struct {
	// Address to listen at; Pipe, with PipeMode (0: the default), takes its place when set.
	Address  netip.AddrPort
	Pipe     string
	PipeMode uint32
	// AccessLogs in order, the deprecated access_log_path as the last one.
	AccessLogs []*model.AccessLog
	// ProfilePath is where /cpuprofiler and /heapprofiler write. Default /var/log/envoy/envoy.prof.
	ProfilePath string
	// AllowPaths limits the paths that are answered; empty allows all.
	AllowPaths []model.StringMatcher
	// SocketOptions are set on the listening socket, in order.
	SocketOptions []model.SocketOption
}

// Node identifies this process towards control planes.
type Node struct {
	ID, Cluster           string
	Region, Zone, SubZone string
	// Metadata in plain Go values, as in model.Cluster.Metadata.
	Metadata map[string]any
	// UserAgentName and UserAgentVersion replace weir's own when set.
	UserAgentName, UserAgentVersion string
	// ClientFeatures are announced beside weir's own.
	ClientFeatures []string
	// DynamicParameters are sent with requests, by type URL.
	DynamicParameters map[string]map[string]string
}

// StatsConfig configures names and tags of statistics.
type StatsConfig struct {
	// UseAllDefaultTags takes Envoy's tag extraction rules. Default true.
	UseAllDefaultTags bool
	// Tags are extracted in this order, before the default ones.
	Tags []StatsTag
	// RejectAll drops every statistic.
	RejectAll bool
	// Include keeps only what matches, when HasInclude; Exclude drops what matches.
	Include, Exclude []model.StringMatcher
	HasInclude       bool
	// Buckets replaces the histogram buckets of matching histograms, first match wins.
	Buckets []StatsBuckets
	// Deferred hides what only the traffic of a cluster counts until there is some
	// (deferred_stat_options.enable_deferred_creation_stats).
	Deferred bool
}

// StatsSink is a decoded entry of stats_sinks.
type StatsSink struct {
	Name, TypeURL string
	Config        any
	// Service is the gRPC service of the configuration, for sinks that have one.
	Service model.GRPCService
}

// StatsTag is one tag: a fixed value, or a regular expression (RE2) whose second capture is the value and whose first one
// is removed from the name. Both empty names one of the default rules.
type StatsTag struct{ Name, Regex, Fixed string }

// StatsBuckets are the upper bounds of a histogram's buckets.
type StatsBuckets struct {
	Match  model.StringMatcher
	Bounds []float64
}
