package view

import (
	"iter"
	"maps"
	"slices"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
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

// Config shows what the configuration store holds: /config_dump, /init_dump, /certs and the client status.
type Config struct {
	// Dump gives the state of the store (store.Store.Dump).
	Dump func() *store.Dump
	// Clusters gives the clusters at work, whose hosts are shown as endpoints; nil shows none.
	Clusters func() model.Set[*cluster.Cluster]
	// Draining gives the versions of listeners that serve what is left of their connections; nil shows none.
	Draining func() []*model.Listener
	// Now is the clock that days_until_expiration is counted from; nil is time.Now.
	Now func() time.Time
}

var (
	_ admin.ConfigDump   = Config{}
	_ admin.InitDump     = Config{}
	_ admin.Certificates = Config{}
	_ admin.ClientStatus = Config{}
)

// ConfigDump implements admin.ConfigDump: the sections in Envoy's order.
func (v Config) ConfigDump(f admin.ConfigFilter) []admin.Section {
	d := v.Dump()
	out := []admin.Section{
		{Message: &adminv3.BootstrapConfigDump{Bootstrap: d.Bootstrap, LastUpdated: stamp(d.LoadedAt)}},
		clustersDump(d, f.Name),
	}
	if len(d.Filters) > 0 {
		out = append(out, filtersDump(d, f.Name))
	}
	if f.EDS {
		out = append(out, v.endpointsDump(d, f.Name))
	}
	return append(out, v.listenersDump(d, f.Name), scopesDump(d, f.Name), routesDump(d, f.Name), secretsDump(d, f.Name))
}

// each makes the elements of a list out of slots whose name is chosen; make gives nil for those that have none.
func each[M any](slots []store.Slot[M], name func(string) bool, make func(*store.Slot[M]) proto.Message) iter.Seq[proto.Message] {
	return func(yield func(proto.Message) bool) {
		for i := range slots {
			if !name(slots[i].Name) {
				continue
			}
			if m := make(&slots[i]); m != nil && !yield(m) {
				return
			}
		}
	}
}

func clustersDump(d *store.Dump, name func(string) bool) admin.Section {
	return admin.Section{Message: &adminv3.ClustersConfigDump{VersionInfo: d.ClusterVersion}, Lists: []admin.List{
		{Field: "static_clusters", Elements: each(d.Clusters, name, func(s *store.Slot[*model.Cluster]) proto.Message {
			if e := static(s); e != nil {
				return &adminv3.ClustersConfigDump_StaticCluster{Cluster: e.Raw, LastUpdated: stamp(e.Updated)}
			}
			return nil
		})},
		{Field: "dynamic_active_clusters", Elements: each(d.Clusters, name, func(s *store.Slot[*model.Cluster]) proto.Message {
			if s.Active == nil || s.Active.Static {
				return nil
			}
			return dynamicCluster(s, s.Active)
		})},
		{Field: "dynamic_warming_clusters", Elements: each(d.Clusters, name, func(s *store.Slot[*model.Cluster]) proto.Message {
			switch {
			case s.Warming != nil && !s.Warming.Static:
				return dynamicCluster(s, s.Warming)
			case s.Active == nil && s.Warming == nil && s.Failure != nil:
				return dynamicCluster(s, nil)
			}
			return nil
		})},
	}}
}

// dynamicCluster shows one form of a cluster, nil for one of which no form was accepted. The last failure is shown beside the
// active form, if there is one.
func dynamicCluster(s *store.Slot[*model.Cluster], e *store.Entry[*model.Cluster]) proto.Message {
	out := &adminv3.ClustersConfigDump_DynamicCluster{ClientStatus: status(s)}
	if e != nil {
		out.VersionInfo, out.Cluster, out.LastUpdated = e.Version, e.Raw, stamp(e.Updated)
	}
	if e == s.Active || s.Active == nil {
		out.ErrorState = failed(s.Failure)
	}
	return out
}

func (v Config) listenersDump(d *store.Dump, name func(string) bool) admin.Section {
	return admin.Section{Message: &adminv3.ListenersConfigDump{VersionInfo: d.ListenerVersion}, Lists: []admin.List{
		{Field: "static_listeners", Elements: each(d.Listeners, name, func(s *store.Slot[*model.Listener]) proto.Message {
			if e := static(s); e != nil {
				return &adminv3.ListenersConfigDump_StaticListener{Listener: e.Raw, LastUpdated: stamp(e.Updated)}
			}
			return nil
		})},
		{Field: "dynamic_listeners", Elements: v.dynamicListeners(d, name)},
	}}
}

// dynamicListeners are those that there are, and then those of which only a version is left that drains.
func (v Config) dynamicListeners(d *store.Dump, name func(string) bool) iter.Seq[proto.Message] {
	return func(yield func(proto.Message) bool) {
		draining := v.drainingStates()
		for m := range each(d.Listeners, name, func(s *store.Slot[*model.Listener]) proto.Message {
			if static(s) != nil {
				return nil
			}
			last := draining[s.Name]
			delete(draining, s.Name)
			return &adminv3.ListenersConfigDump_DynamicListener{
				Name: s.Name, ActiveState: listenerState(s.Active), WarmingState: listenerState(s.Warming), DrainingState: last,
				ErrorState: failed(s.Failure), ClientStatus: status(s),
			}
		}) {
			if !yield(m) {
				return
			}
		}
		for _, gone := range slices.Sorted(maps.Keys(draining)) {
			if name(gone) && !yield(&adminv3.ListenersConfigDump_DynamicListener{Name: gone, DrainingState: draining[gone]}) {
				return
			}
		}
	}
}

// drainingStates gives the newest version that drains of each dynamic listener.
func (v Config) drainingStates() map[string]*adminv3.ListenersConfigDump_DynamicListenerState {
	out := map[string]*adminv3.ListenersConfigDump_DynamicListenerState{}
	if v.Draining == nil {
		return out
	}
	for _, l := range v.Draining() {
		raw, ok := l.Message.(*anypb.Any)
		if !ok || out[l.Name].GetLastUpdated().AsTime().After(l.UpdatedAt) {
			continue
		}
		out[l.Name] = &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: l.Version, Listener: raw, LastUpdated: stamp(l.UpdatedAt)}
	}
	return out
}

func listenerState(e *store.Entry[*model.Listener]) *adminv3.ListenersConfigDump_DynamicListenerState {
	if e == nil {
		return nil
	}
	return &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: e.Version, Listener: e.Raw, LastUpdated: stamp(e.Updated)}
}

func secretsDump(d *store.Dump, name func(string) bool) admin.Section {
	return admin.Section{Message: &adminv3.SecretsConfigDump{}, Lists: []admin.List{
		{Field: "static_secrets", Elements: each(d.Secrets, name, func(s *store.Slot[*model.Secret]) proto.Message {
			if e := static(s); e != nil {
				return &adminv3.SecretsConfigDump_StaticSecret{Name: s.Name, LastUpdated: stamp(e.Updated), Secret: e.Raw}
			}
			return nil
		})},
		{Field: "dynamic_active_secrets", Elements: each(d.Secrets, name, func(s *store.Slot[*model.Secret]) proto.Message {
			if s.Active == nil || s.Active.Static {
				return nil
			}
			return dynamicSecret(s, s.Active)
		})},
		{Field: "dynamic_warming_secrets", Elements: func(yield func(proto.Message) bool) {
			for m := range each(d.Secrets, name, func(s *store.Slot[*model.Secret]) proto.Message {
				if static(s) != nil || s.Warming == nil && (s.Active != nil || s.Failure == nil) {
					return nil
				}
				return dynamicSecret(s, s.Warming)
			}) {
				if !yield(m) {
					return
				}
			}
			for _, missing := range waiting(d, xds.SecretType) {
				if name(missing) && !yield(&adminv3.SecretsConfigDump_DynamicSecret{
					Name: missing, VersionInfo: "uninitialized", Secret: pack(&tlsv3.Secret{Name: missing}),
					ClientStatus: adminv3.ClientResourceStatus_REQUESTED,
				}) {
					return
				}
			}
		}},
	}}
}

// dynamicSecret shows one form of a secret, nil for one of which no form was accepted.
func dynamicSecret(s *store.Slot[*model.Secret], e *store.Entry[*model.Secret]) proto.Message {
	out := &adminv3.SecretsConfigDump_DynamicSecret{Name: s.Name, ErrorState: failed(s.Failure), ClientStatus: status(s)}
	if e != nil {
		out.VersionInfo, out.LastUpdated, out.Secret = e.Version, stamp(e.Updated), e.Raw
	}
	return out
}

func filtersDump(d *store.Dump, name func(string) bool) admin.Section {
	return admin.Section{Message: &adminv3.EcdsConfigDump{}, Lists: []admin.List{
		{Field: "ecds_filters", Elements: each(d.Filters, name, func(s *store.Slot[*model.FilterConfig]) proto.Message {
			out := &adminv3.EcdsConfigDump_EcdsFilterConfig{ErrorState: failed(s.Failure), ClientStatus: status(s)}
			if e := newest(s); e != nil {
				out.VersionInfo, out.EcdsFilter, out.LastUpdated = e.Version, e.Raw, stamp(e.Updated)
			} else if s.Failure == nil {
				return nil
			}
			return out
		})},
	}}
}

// static is the entry of a resource of the bootstrap, nil for a dynamic one.
func static[M any](s *store.Slot[M]) *store.Entry[M] {
	for _, e := range [...]*store.Entry[M]{s.Active, s.Warming} {
		if e != nil && e.Static {
			return e
		}
	}
	return nil
}

// newest is the form in force, or the one that warms up when there is none.
func newest[M any](s *store.Slot[M]) *store.Entry[M] {
	if s.Active != nil {
		return s.Active
	}
	return s.Warming
}

// status is what became of the last update of a resource.
func status[M any](s *store.Slot[M]) adminv3.ClientResourceStatus {
	switch {
	case s.Failure != nil:
		return adminv3.ClientResourceStatus_NACKED
	case s.Active != nil || s.Warming != nil:
		return adminv3.ClientResourceStatus_ACKED
	}
	return adminv3.ClientResourceStatus_REQUESTED
}

func failed(f *store.Failure) *adminv3.UpdateFailureState {
	if f == nil {
		return nil
	}
	return &adminv3.UpdateFailureState{
		FailedConfiguration: f.Raw, LastUpdateAttempt: stamp(f.When), Details: f.Details, VersionInfo: f.Version,
	}
}

// waiting lists the names of a type that something still waits for, in order.
func waiting(d *store.Dump, typeURL string) []string {
	var names []string
	for _, w := range d.Waiting {
		if w.Type == typeURL {
			names = append(names, w.Name)
		}
	}
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
