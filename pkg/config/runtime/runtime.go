// Package runtime is Envoy's layered runtime: numbers and flags by key that later layers override and that can be changed while
// the process runs.
//
// It owns the layers (from the bootstrap, from files, of the admin interface, from RTDS), and writes what they come to into a
// model.Runtime, which readers look into without a lock. It must not know who reads which key. One mutex guards the layers;
// what Notify is given is called with it held.
package runtime

import (
	"errors"
	"log/slog"
	"maps"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Layer describes one layer. Later layers win. At most one of Disk, RTDS and Admin is set; a layer without is a static one.
type Layer struct {
	Name string
	// Values of a static layer by dotted key.
	Values map[string]model.RuntimeValue
	Disk   *Disk
	RTDS   *RTDS
	// Admin layers are written by Modify; there is at most one.
	Admin bool
}

// Disk is a layer that is read from a tree of files (RuntimeLayer.DiskLayer).
type Disk struct {
	// SymlinkRoot is the symbolic link whose swap makes the tree be read again; Subdirectory is below it.
	SymlinkRoot, Subdirectory string
	// AppendServiceCluster reads the subdirectory that is named like node.cluster.
	AppendServiceCluster bool
}

// RTDS is a layer that a control plane or a file delivers (RuntimeLayer.RtdsLayer).
type RTDS struct {
	// Resource is the name of the resource that is asked for.
	Resource string
	Source   *model.Source
}

// Options of a Runtime.
type Options struct {
	// Layers in order, which the Runtime takes over.
	Layers []Layer
	// ServiceCluster is node.cluster.
	ServiceCluster string
	// Stats is the root scope.
	Stats *stats.Scope
	Log   *slog.Logger
	// Watch follows the links of disk layers; nil reads them but once.
	Watch *filewatch.Watcher
}

// Runtime is the layers and what they come to.
type Runtime struct {
	opt     Options
	readers *model.Runtime
	stats   counters

	mu     sync.Mutex
	layers []*layer
	stop   []func()
	rtds   rtds
	notify func(keys []string)
}

// layer is a layer at work. Guarded by Runtime.mu.
type layer struct {
	Layer
	// values are never written once they are here: a new state is a new map.
	values map[string]model.RuntimeValue
	// there tells that a disk layer's directory exists.
	there bool
}

// counters are the statistics runtime.*.
type counters struct {
	loadSuccess, loadError       *stats.Counter
	dirExists, dirMissing        *stats.Counter
	deprecated                   *stats.Counter
	deprecatedSeen               *stats.Gauge
	keys, layers, adminOverrides *stats.Gauge
}

// New reads the layers that need no control plane. The error says which link of a disk layer cannot be followed; a tree that
// cannot be read is logged and counted, and left out.
func New(opt Options) (*Runtime, error) {
	scope := opt.Stats.Scope("runtime")
	r := &Runtime{opt: opt, readers: model.NewRuntime(nil), stats: counters{
		loadSuccess: scope.Counter("load_success"), loadError: scope.Counter("load_error"),
		dirExists: scope.Counter("override_dir_exists"), dirMissing: scope.Counter("override_dir_not_exists"),
		deprecated: scope.Counter("deprecated_feature_use"), deprecatedSeen: scope.Gauge("deprecated_feature_seen_since_process_start"),
		keys: scope.Gauge("num_keys"), layers: scope.Gauge("num_layers"), adminOverrides: scope.Gauge("admin_overrides_active"),
	}}
	for i := range opt.Layers {
		r.layers = append(r.layers, &layer{Layer: opt.Layers[i], values: opt.Layers[i].Values})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.follow(); err != nil {
		r.unfollow()
		return nil, err
	}
	r.reload()
	return r, nil
}

// Readers is what the layers come to, for whoever reads keys.
func (r *Runtime) Readers() *model.Runtime { return r.readers }

// Notify has f told the keys whose final value is another one than before, in order, from now on. f must not call back.
func (r *Runtime) Notify(f func(keys []string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notify = f
}

// DeprecatedUse tells how many deprecated fields of the configuration were seen since the process began. It does not go back.
func (r *Runtime) DeprecatedUse(seen uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was := r.stats.deprecatedSeen.Value(); seen > was {
		r.stats.deprecated.Add(seen - was)
		r.stats.deprecatedSeen.Set(seen)
	}
}

// Close ends the following of files.
func (r *Runtime) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unfollow()
}

func (r *Runtime) unfollow() {
	for _, stop := range r.stop {
		stop()
	}
	r.stop = nil
}

// merge puts in force what the layers come to, and counts it as one load. Called with mu held.
func (r *Runtime) merge(failed bool) {
	merged := map[string]model.RuntimeValue{}
	shown, disks := 0, 0
	for _, l := range r.layers {
		if l.Disk != nil {
			if !l.there {
				continue
			}
			disks++
		}
		shown++
		maps.Copy(merged, l.values)
		if l.Admin {
			r.stats.adminOverrides.Set(uint64(min(len(l.values), 1)))
		}
	}
	r.stats.layers.Set(uint64(shown))
	r.stats.keys.Set(uint64(len(merged)))
	if failed {
		r.stats.loadError.Inc()
	} else {
		r.stats.loadSuccess.Inc()
	}
	if disks > 1 {
		r.stats.dirExists.Inc()
	} else {
		r.stats.dirMissing.Inc()
	}
	if changed := r.readers.Set(merged); len(changed) > 0 && r.notify != nil {
		r.notify(changed)
	}
}

// LayerView is a layer as people see it: the text of its values by key.
type LayerView struct {
	Name   string
	Values map[string]string
}

// Layers returns the layers in order, without disk layers whose directory does not exist.
func (r *Runtime) Layers() []LayerView {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []LayerView
	for _, l := range r.layers {
		if l.Disk != nil && !l.there {
			continue
		}
		v := LayerView{Name: l.Name, Values: make(map[string]string, len(l.values))}
		for key, value := range l.values {
			v.Values[key] = value.Text
		}
		out = append(out, v)
	}
	return out
}

// ErrNoAdminLayer is returned by Modify when no layer can be written.
//
//lint:ignore ST1005 these are Envoy's words, shown as they are
var ErrNoAdminLayer = errors.New("No admin layer specified")

// Modify sets keys of the admin layer and deletes those with an empty value. It is in force for all readers when Modify returns.
func (r *Runtime) Modify(values map[string]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.layers {
		if !l.Admin {
			continue
		}
		next := make(map[string]model.RuntimeValue, len(l.values)+len(values))
		maps.Copy(next, l.values)
		for k, v := range values {
			if v == "" {
				delete(next, k)
				continue
			}
			next[k] = Parse(v)
		}
		l.values = next
		r.merge(false)
		return nil
	}
	return ErrNoAdminLayer
}
