package view

import (
	"maps"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// Config shows what the configuration store holds: /config_dump, /init_dump and /certs.
type Config struct {
	// Dump gives the state of the store (store.Store.Dump).
	Dump func() *store.Dump
	// Clusters gives the clusters at work, whose hosts are shown as endpoints; nil shows none.
	Clusters func() model.Set[*cluster.Cluster]
	// Now is the clock that days_until_expiration is counted from; nil is time.Now.
	Now func() time.Time
}

var (
	_ admin.ConfigDump   = Config{}
	_ admin.InitDump     = Config{}
	_ admin.Certificates = Config{}
)

// ConfigDump implements admin.ConfigDump.
func (v Config) ConfigDump(f admin.ConfigFilter) []proto.Message {
	d := v.Dump()
	parts := []proto.Message{
		&adminv3.BootstrapConfigDump{Bootstrap: d.Bootstrap, LastUpdated: stamp(d.LoadedAt)},
		clustersDump(d, f.Name),
	}
	if len(d.Filters) > 0 {
		parts = append(parts, filtersDump(d, f.Name))
	}
	if f.EDS {
		parts = append(parts, v.endpointsDump(f.Name))
	}
	return append(parts, listenersDump(d, f.Name), &adminv3.ScopedRoutesConfigDump{}, routesDump(d, f.Name), secretsDump(d, f.Name))
}

func clustersDump(d *store.Dump, name func(string) bool) *adminv3.ClustersConfigDump {
	out := &adminv3.ClustersConfigDump{VersionInfo: d.ClusterVersion}
	dynamic := func(e *store.Entry[*model.Cluster]) *adminv3.ClustersConfigDump_DynamicCluster {
		return &adminv3.ClustersConfigDump_DynamicCluster{VersionInfo: e.Version, Cluster: e.Raw, LastUpdated: stamp(e.Updated)}
	}
	for _, s := range d.Clusters {
		if !name(s.Name) {
			continue
		}
		if e := static(s); e != nil {
			out.StaticClusters = append(out.StaticClusters, &adminv3.ClustersConfigDump_StaticCluster{Cluster: e.Raw, LastUpdated: stamp(e.Updated)})
			continue
		}
		failure := failed(s.Failure)
		if s.Active != nil {
			c := dynamic(s.Active)
			c.ErrorState = failure
			out.DynamicActiveClusters = append(out.DynamicActiveClusters, c)
		}
		switch {
		case s.Warming != nil:
			c := dynamic(s.Warming)
			if s.Active == nil {
				c.ErrorState = failure
			}
			out.DynamicWarmingClusters = append(out.DynamicWarmingClusters, c)
		case s.Active == nil && failure != nil:
			out.DynamicWarmingClusters = append(out.DynamicWarmingClusters, &adminv3.ClustersConfigDump_DynamicCluster{ErrorState: failure})
		}
	}
	return out
}

func (v Config) endpointsDump(name func(string) bool) *adminv3.EndpointsConfigDump {
	out := &adminv3.EndpointsConfigDump{}
	if v.Clusters == nil {
		return out
	}
	for _, c := range v.Clusters().Sorted() {
		if !name(c.Config().EDSName()) {
			continue
		}
		addEndpoints(out, loadAssignment(c.Config(), c.Hosts()), c.Config().Dynamic)
	}
	return out
}

func addEndpoints(out *adminv3.EndpointsConfigDump, a *endpointv3.ClusterLoadAssignment, dynamic bool) {
	if dynamic {
		out.DynamicEndpointConfigs = append(out.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{EndpointConfig: pack(a)})
		return
	}
	out.StaticEndpointConfigs = append(out.StaticEndpointConfigs, &adminv3.EndpointsConfigDump_StaticEndpointConfig{EndpointConfig: pack(a)})
}

func listenersDump(d *store.Dump, name func(string) bool) *adminv3.ListenersConfigDump {
	out := &adminv3.ListenersConfigDump{VersionInfo: d.ListenerVersion}
	state := func(e *store.Entry[*model.Listener]) *adminv3.ListenersConfigDump_DynamicListenerState {
		if e == nil {
			return nil
		}
		return &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: e.Version, Listener: e.Raw, LastUpdated: stamp(e.Updated)}
	}
	for _, s := range d.Listeners {
		if !name(s.Name) {
			continue
		}
		if e := static(s); e != nil {
			out.StaticListeners = append(out.StaticListeners, &adminv3.ListenersConfigDump_StaticListener{Listener: e.Raw, LastUpdated: stamp(e.Updated)})
			continue
		}
		out.DynamicListeners = append(out.DynamicListeners, &adminv3.ListenersConfigDump_DynamicListener{
			Name: s.Name, ActiveState: state(s.Active), WarmingState: state(s.Warming), ErrorState: failed(s.Failure),
		})
	}
	return out
}

func secretsDump(d *store.Dump, name func(string) bool) *adminv3.SecretsConfigDump {
	out := &adminv3.SecretsConfigDump{}
	dynamic := func(s store.Slot[*model.Secret], e *store.Entry[*model.Secret]) *adminv3.SecretsConfigDump_DynamicSecret {
		return &adminv3.SecretsConfigDump_DynamicSecret{
			Name: s.Name, VersionInfo: e.Version, LastUpdated: stamp(e.Updated), Secret: e.Raw, ErrorState: failed(s.Failure),
		}
	}
	for _, s := range d.Secrets {
		if !name(s.Name) {
			continue
		}
		if e := static(s); e != nil {
			out.StaticSecrets = append(out.StaticSecrets, &adminv3.SecretsConfigDump_StaticSecret{Name: s.Name, LastUpdated: stamp(e.Updated), Secret: e.Raw})
			continue
		}
		if s.Active != nil {
			out.DynamicActiveSecrets = append(out.DynamicActiveSecrets, dynamic(s, s.Active))
		}
		if s.Warming != nil {
			out.DynamicWarmingSecrets = append(out.DynamicWarmingSecrets, dynamic(s, s.Warming))
		}
	}
	for _, missing := range waiting(d, xds.SecretType) {
		if name(missing) {
			out.DynamicWarmingSecrets = append(out.DynamicWarmingSecrets, &adminv3.SecretsConfigDump_DynamicSecret{
				Name: missing, VersionInfo: "uninitialized", Secret: pack(&tlsv3.Secret{Name: missing}),
			})
		}
	}
	return out
}

func filtersDump(d *store.Dump, name func(string) bool) *adminv3.EcdsConfigDump {
	out := &adminv3.EcdsConfigDump{}
	for _, s := range d.Filters {
		if e := s.Active; e != nil && name(s.Name) {
			out.EcdsFilters = append(out.EcdsFilters, &adminv3.EcdsConfigDump_EcdsFilterConfig{
				VersionInfo: e.Version, EcdsFilter: e.Raw, LastUpdated: stamp(e.Updated), ErrorState: failed(s.Failure),
			})
		}
	}
	return out
}

// InitDump implements admin.InitDump: what warming listeners and clusters wait for.
func (v Config) InitDump() *adminv3.UnreadyTargetsDumps {
	d := v.Dump()
	missing := map[string]bool{}
	for _, w := range d.Waiting {
		missing[w] = true
	}
	out := &adminv3.UnreadyTargetsDumps{}
	add := func(name string, needs map[string][]string) {
		dump := &adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{Name: name}
		for _, typeURL := range slices.Sorted(maps.Keys(needs)) {
			for _, need := range needs[typeURL] {
				if missing[typeURL+"/"+need] {
					dump.TargetNames = append(dump.TargetNames, "target "+typeURL[strings.LastIndexByte(typeURL, '.')+1:]+" "+need)
				}
			}
		}
		out.UnreadyTargetsDumps = append(out.UnreadyTargetsDumps, dump)
	}
	for _, s := range d.Listeners {
		if s.Warming != nil {
			l := s.Warming.Value
			add("init manager Listener-local-init-manager "+s.Name, map[string][]string{
				xds.RouteType: l.RouteNames(), xds.SecretType: l.SecretNames(), xds.FilterType: l.FilterNames(),
			})
		}
	}
	for _, s := range d.Clusters {
		if s.Warming != nil {
			c := s.Warming.Value
			needs := map[string][]string{xds.SecretType: c.SecretNames()}
			if c.NeedsEDS() {
				needs[xds.EndpointType] = []string{c.EDSName()}
			}
			add("init manager Cluster "+s.Name, needs)
		}
	}
	return out
}

// static is the entry of a resource of the bootstrap, nil for a dynamic one.
func static[M any](s store.Slot[M]) *store.Entry[M] {
	for _, e := range [...]*store.Entry[M]{s.Active, s.Warming} {
		if e != nil && e.Static {
			return e
		}
	}
	return nil
}

func failed(f *store.Failure) *adminv3.UpdateFailureState {
	if f == nil {
		return nil
	}
	return &adminv3.UpdateFailureState{
		FailedConfiguration: f.Raw, LastUpdateAttempt: stamp(f.When), Details: f.Details, VersionInfo: f.Version,
	}
}

// waiting lists the names of a type that something still waits for.
func waiting(d *store.Dump, typeURL string) []string {
	var names []string
	for _, w := range d.Waiting {
		if name, ok := strings.CutPrefix(w, typeURL+"/"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// pack wraps a message that was made here; one that cannot be encoded is shown by its type alone.
func pack(m proto.Message) *anypb.Any {
	packed, err := anypb.New(m)
	if err != nil {
		return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())}
	}
	return packed
}
