package hcm

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// discovered is a filter whose configuration comes and changes by ECDS. A stream goes through the filter of the moment in
// which it arrives here.
type discovered struct {
	m    *Manager
	cfg  *model.HTTPFilter
	deps filter.Deps
	// fallback serves while no configuration is there; nil when there is no default one.
	fallback filter.HTTP

	current atomic.Pointer[madeFilter]
	mu      sync.Mutex // serialises building
}

// madeFilter is the filter that was made of a configuration.
type madeFilter struct {
	config *model.FilterConfig
	filter filter.HTTP // nil when none could be made, and there was none before
}

var (
	_ filter.HTTP = (*discovered)(nil)
	_ io.Closer   = (*discovered)(nil)
)

func (m *Manager) newDiscovered(f *model.HTTPFilter, d filter.Deps) (filter.HTTP, error) {
	out := &discovered{m: m, cfg: f, deps: d}
	if f.Discovery.Default == nil {
		return out, nil
	}
	var err error
	if out.fallback, err = buildFilter(f.Discovery.Default, d); err != nil {
		return nil, fmt.Errorf("default_config: %w", err)
	}
	return out, nil
}

// Handle implements filter.HTTP.
func (d *discovered) Handle(s *filter.Stream) (*message.Response, error) {
	f := d.filter()
	if f == nil {
		return s.Reply(filter.Reply{Status: 500, Flags: streaminfo.NoFilterConfigFound}), nil
	}
	return f.Handle(s)
}

// filter is the one of the current configuration, of the default one when there is none, else nil.
func (d *discovered) filter() filter.HTTP {
	if d.m.deps.FilterConfig == nil {
		return d.fallback
	}
	cfg := d.m.deps.FilterConfig(d.cfg.Name)
	if cfg == nil || !d.cfg.Discovery.Accepts(cfg.TypeURL) || cfg.Terminal != d.cfg.Discovery.Terminal {
		return d.fallback
	}
	if b := d.current.Load(); b != nil && b.config == cfg {
		return b.filter
	}
	return d.rebuild(cfg)
}

// rebuild makes the filter of a new configuration. One that cannot be made leaves the last one in force.
func (d *discovered) rebuild(cfg *model.FilterConfig) filter.HTTP {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.current.Load()
	if old != nil && old.config == cfg {
		return old.filter
	}
	f, err := buildFilter(cfg.Config, d.deps)
	if err != nil {
		d.m.deps.Log.Error("filter configuration cannot be used", "filter", d.cfg.Name, "version", cfg.Version, "error", err)
		if f = d.fallback; old != nil {
			f = old.filter
		}
	} else if old != nil && old.filter != nil && old.filter != d.fallback {
		d.m.closeFilter(old.filter)
	}
	d.current.Store(&madeFilter{cfg, f})
	return f
}

// Close implements io.Closer.
func (d *discovered) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.current.Load(); b != nil && b.filter != nil && b.filter != d.fallback {
		d.m.closeFilter(b.filter)
	}
	if d.fallback != nil {
		d.m.closeFilter(d.fallback)
	}
	return nil
}
