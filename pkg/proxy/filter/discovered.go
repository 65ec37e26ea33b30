package filter

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// discovered is an HTTP filter whose configuration comes and changes by ECDS. A stream goes through the filter of the moment
// in which it arrives here.
type discovered struct {
	cfg  *model.FilterDiscovery
	deps Deps
	// fallback serves while no configuration is there; nil when there is no default one.
	fallback HTTP

	current atomic.Pointer[madeFilter]
	mu      sync.Mutex // serialises building
}

// madeFilter is the filter that was made of a configuration.
type madeFilter struct {
	config *model.FilterConfig
	filter HTTP // nil when none could be made, and there was none before
}

var (
	_ HTTP      = (*discovered)(nil)
	_ io.Closer = (*discovered)(nil)
)

func newDiscovered(cfg *model.FilterDiscovery, d Deps) (HTTP, error) {
	out := &discovered{cfg: cfg, deps: d}
	if cfg.Default == nil {
		return out, nil
	}
	var err error
	if out.fallback, err = out.build(cfg.Default); err != nil {
		return nil, fmt.Errorf("default_config: %w", err)
	}
	return out, nil
}

func (d *discovered) build(c *model.FilterConfig) (HTTP, error) {
	return d.deps.build(c.Config, c.Upstream, c.UpstreamLogs)
}

// Handle implements HTTP.
func (d *discovered) Handle(s *Stream) (*message.Response, error) {
	f := d.filter()
	if f == nil {
		return s.Reply(Reply{Status: 500, Flags: streaminfo.NoFilterConfigFound}), nil
	}
	return f.Handle(s)
}

// filter is the one of the current configuration, of the default one when there is none, else nil.
func (d *discovered) filter() HTTP {
	var delivered *model.FilterConfig
	if d.deps.FilterConfig != nil {
		delivered = d.deps.FilterConfig(d.deps.Name)
	}
	cfg := d.cfg.Choose(delivered)
	if cfg == d.cfg.Default {
		return d.fallback
	}
	if b := d.current.Load(); b != nil && b.config == cfg {
		return b.filter
	}
	return d.rebuild(cfg)
}

// rebuild makes the filter of a new configuration. One that cannot be made leaves the last one in force.
func (d *discovered) rebuild(cfg *model.FilterConfig) HTTP {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.current.Load()
	if old != nil && old.config == cfg {
		return old.filter
	}
	f, err := d.build(cfg)
	if err != nil {
		d.deps.Log.Error("filter configuration cannot be used", "filter", d.deps.Name, "version", cfg.Version, "error", err)
		if f = d.fallback; old != nil {
			f = old.filter
		}
	} else if old != nil && old.filter != d.fallback {
		d.end(old.filter)
	}
	d.current.Store(&madeFilter{cfg, f})
	return f
}

// Close implements io.Closer.
func (d *discovered) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.current.Load(); b != nil && b.filter != d.fallback {
		d.end(b.filter)
	}
	d.end(d.fallback)
	return nil
}

// end closes a filter that has something to end; f may be nil.
func (d *discovered) end(f HTTP) {
	closer, ok := f.(io.Closer)
	if !ok {
		return
	}
	if err := closer.Close(); err != nil {
		d.deps.Log.Warn("close http filter", "filter", d.deps.Name, "error", err)
	}
}
