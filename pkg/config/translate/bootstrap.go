package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of the bootstrap.
const (
	defaultStatsFlush  = 5 * time.Second
	defaultProfilePath = "/var/log/envoy/envoy.prof"
)

// Bootstrap translates a bootstrap with all its static resources. The error lists everything that is wrong in any of
// them; findings about a static resource name it, and their paths begin at that resource. The node must be complete: what
// the command line says of it is merged in before.
func (t *Translator) Bootstrap(m *bootstrapv3.Bootstrap, meta Meta) (*Static, []Warning, error) {
	out, warnings, err := t.BootstrapParts(m, meta)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
}

// BootstrapParts is Bootstrap for checks that go on: when there are errors, it returns what has none beside them.
func (t *Translator) BootstrapParts(m *bootstrapv3.Bootstrap, meta Meta) (*Static, []Warning, error) {
	c := t.begin(withoutStatic(m), meta, "")
	out := &Static{
		Node:              node(m.GetNode()),
		StatsFlushOnAdmin: m.GetStatsFlushOnAdmin(),
		LogFormat:         c.logFormat(m.GetApplicationLogConfig().GetLogFormat()),
	}
	if v := m.GetStatsServerVersionOverride(); v != nil {
		out.ServerVersion = new(v.GetValue())
	}
	c.processDefaults(m)
	if out.StatsFlushOnAdmin && m.GetStatsFlushInterval() != nil {
		c.fail((*path)(nil).field("stats_flush_interval"), "Only one of stats_flush_interval or stats_flush_on_admin should be set!")
	}
	if !out.StatsFlushOnAdmin {
		out.StatsFlushInterval = c.duration(m.GetStatsFlushInterval(), defaultStatsFlush, nil, "stats_flush_interval")
	}
	c.staticResources(m.GetStaticResources(), out)
	c.dynamicResources(m.GetDynamicResources(), out)
	c.federation(m, out)
	if out.HDS = c.apiSource(m.GetHdsConfig(), (*path)(nil).field("hds_config")); out.HDS != nil && len(out.HDS.Services) == 0 {
		c.fail((*path)(nil).field("hds_config"), "health discovery needs a gRPC service")
	}
	c.admin(m.GetAdmin(), out)
	c.statsConfig(m.GetStatsConfig(), out)
	out.Stats.Deferred = m.GetDeferredStatOptions().GetEnableDeferredCreationStats()
	c.statsSinks(m.GetStatsSinks(), out)
	c.runtime(m.GetLayeredRuntime(), out)
	out.LoadStats = c.loadStats(m.GetClusterManager().GetLoadStatsConfig())
	out.OutlierLog = m.GetClusterManager().GetOutlierDetection().GetEventLogPath()
	c.bootstrapExtensions(m.GetBootstrapExtensions(), out)
	c.needNode(m)
	warnings, err := c.end(m)
	if err == nil {
		out.IdleRuntimeKeys = c.idleRuntimeKeys(m, out.Runtime)
	}
	return out, warnings, err
}

// withoutStatic returns a message with all fields of m but its static resources, each of which is validated by itself.
func withoutStatic(m *bootstrapv3.Bootstrap) *bootstrapv3.Bootstrap {
	top := &bootstrapv3.Bootstrap{}
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Name() != "static_resources" {
			top.ProtoReflect().Set(fd, v)
		}
		return true
	})
	return top
}

// at returns a call for a resource below p, whose findings are joined to those of c afterwards.
func (c *call) at(resource string) *call {
	return &call{t: c.t, meta: c.meta, resource: resource, unpacked: c.unpacked}
}

// adopt takes over what sub found.
func (c *call) adopt(sub *call) {
	c.errs = append(c.errs, sub.errs...)
	c.warnings = append(c.warnings, sub.warnings...)
}

// staticResources translates listeners, clusters and secrets.
func (c *call) staticResources(m *bootstrapv3.Bootstrap_StaticResources, out *Static) {
	var root *path
	at := root.field("static_resources")
	seen := map[string]bool{}
	once := func(kind, name string, p *path) {
		if name != "" && seen[kind+"\x00"+name] {
			c.failAs(CodeDuplicate, p.field("name"), "duplicate %s %q", kind, name)
		}
		seen[kind+"\x00"+name] = true
	}
	for i, s := range m.GetSecrets() {
		place := at.elem("secrets", i)
		once("secret", s.GetName(), place)
		v, warnings, err := c.t.Secret(s, c.meta)
		if c.merge(place, warnings, err); err == nil {
			out.Secrets = append(out.Secrets, v)
		}
	}
	for i, s := range m.GetClusters() {
		place := at.elem("clusters", i)
		once("cluster", s.GetName(), place)
		v, warnings, err := c.t.Cluster(s, c.meta)
		if c.merge(place, warnings, err); err == nil {
			out.Clusters = append(out.Clusters, v)
		}
	}
	for i, s := range m.GetListeners() {
		place := at.elem("listeners", i)
		once("listener", s.GetName(), place)
		v, warnings, err := c.t.ListenerParts(s, c.meta)
		if c.merge(place, warnings, err); err == nil {
			out.Listeners = append(out.Listeners, v)
		} else {
			out.Faulty = append(out.Faulty, v)
		}
	}
}

// merge takes over the findings of a resource at a place of the bootstrap that was translated by itself.
func (c *call) merge(at *path, warnings []Warning, err error) {
	for _, w := range warnings {
		w.Root = at.String()
		c.warnings = append(c.warnings, w)
	}
	for _, e := range FieldErrors(err) {
		e.Root = at.String()
		c.errs = append(c.errs, e)
	}
}

// dynamicResources translates where dynamic resources come from.
func (c *call) dynamicResources(m *bootstrapv3.Bootstrap_DynamicResources, out *Static) {
	var root *path
	at := root.field("dynamic_resources")
	out.LDS = c.source(m.GetLdsConfig(), at.field("lds_config"))
	out.CDS = c.source(m.GetCdsConfig(), at.field("cds_config"))
	out.ADS = c.apiSource(m.GetAdsConfig(), at.field("ads_config"))
	for _, s := range []struct {
		name   string
		source *model.Source
	}{{"lds_config", out.LDS}, {"cds_config", out.CDS}} {
		if s.source != nil && s.source.Kind == model.SourceADS && out.ADS == nil {
			c.fail(at.field(s.name).field("ads"), "there is no ads_config")
		}
	}
	if out.ADS != nil && out.ADS.Type == model.APIREST {
		c.fail(at.field("ads_config").field("api_type"), "ADS needs a gRPC API type")
	}
}

// admin translates the admin interface.
func (c *call) admin(m *bootstrapv3.Admin, out *Static) {
	if m == nil {
		return
	}
	var root *path
	at := root.field("admin")
	a := &Admin{ProfilePath: m.GetProfilePath(), AllowPaths: c.stringMatchers(m.GetAllowPaths(), at, "allow_paths")}
	if a.ProfilePath == "" {
		a.ProfilePath = defaultProfilePath
	}
	a.AccessLogs = c.accessLogs(m.GetAccessLog(), at, "access_log")
	if file := m.GetAccessLogPath(); file != "" {
		a.AccessLogs = append(a.AccessLogs, c.adminLog(file, at.field("access_log_path"))...)
	}
	a.SocketOptions = c.socketOptions(m.GetSocketOptions(), at, false)
	switch k := m.GetAddress().GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		a.Address, _ = c.ipAddress(k.SocketAddress, at.field("address").field("socket_address"))
	case *corev3.Address_Pipe:
		a.Pipe, a.PipeMode = k.Pipe.GetPath(), k.Pipe.GetMode()
	case *corev3.Address_EnvoyInternalAddress:
		c.unsupported(at.field("address").field("envoy_internal_address"))
	case nil:
		// Without an address the admin interface is not served, but its other settings are kept.
		c.warn(at, "there is no address: the admin interface is not served")
		return
	}
	out.Admin = a
}

// adminLog is the file logger that the deprecated access_log_path stands for.
func (c *call) adminLog(file string, p *path) []*model.AccessLog {
	config, err := anypb.New(&filev3.FileAccessLog{Path: file})
	if err != nil {
		c.fail(p, "%v", err)
		return nil
	}
	sub := c.at("")
	logs := sub.accessLogs([]*accesslogv3.AccessLog{{Name: "envoy.access_loggers.file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: config}}}, p, "access_log")
	c.adopt(sub)
	return logs
}

// bootstrapExtensions decodes the extensions of the bootstrap. Those of Envoy that weir has not are left out with a
// warning, since control planes send some of them to every proxy.
func (c *call) bootstrapExtensions(list []*corev3.TypedExtensionConfig, out *Static) {
	var root *path
	for i, e := range list {
		at := root.elem("bootstrap_extensions", i)
		typeURL := ""
		if e.GetTypedConfig() != nil {
			typeURL = c.typeOf(e.GetTypedConfig())
		}
		if _, err := c.t.registry.Lookup(extension.Bootstrap, typeURL, e.GetName()); isKnown(err) {
			c.lacks(at, "%v", err)
			continue
		}
		f, config := c.extension(extension.Bootstrap, e.GetName(), e.GetTypedConfig(), false, at)
		if f == nil {
			continue
		}
		out.Extensions = append(out.Extensions, BootstrapExtension{Name: e.GetName(), TypeURL: f.TypeURL(), Config: config, Path: at.field("typed_config").String()})
		if v, ok := config.(*model.Interception); ok {
			out.Interception = out.Interception.With(v)
		}
	}
}

// node translates the identity of this process.
func node(m *corev3.Node) Node {
	out := Node{
		ID: m.GetId(), Cluster: m.GetCluster(),
		Region: m.GetLocality().GetRegion(), Zone: m.GetLocality().GetZone(), SubZone: m.GetLocality().GetSubZone(),
		Metadata: plain(m.GetMetadata()), UserAgentName: m.GetUserAgentName(), UserAgentVersion: m.GetUserAgentVersion(),
		ClientFeatures: m.GetClientFeatures(),
	}
	for typeURL, p := range m.GetDynamicParameters() {
		if out.DynamicParameters == nil {
			out.DynamicParameters = map[string]map[string]string{}
		}
		out.DynamicParameters[typeURL] = p.GetParams()
	}
	return out
}
