package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// errNoConfig closes connections that need a listener filter which has no configuration yet.
var errNoConfig = errors.New("a listener filter has no configuration")

// discoveredNetwork is a network filter whose configuration comes and changes by ECDS: F is filter.Network for the last one of a
// chain, else filter.NonTerminal. A connection keeps the filter of the moment in which it came.
type discoveredNetwork[F any] struct {
	name  string
	cfg   *model.FilterDiscovery
	find  func(name string) *model.FilterConfig
	build func(*model.NetworkFilter) (F, error)
	log   *slog.Logger

	mu      sync.Mutex
	current *madeNetwork[F]
	// unusable is the configuration that no filter could be made of.
	unusable *model.FilterConfig
}

// madeNetwork is the filter that was made of a configuration. discoveredNetwork.mu guards it.
type madeNetwork[F any] struct {
	config *model.FilterConfig
	filter F
	// conns are the connections that it serves; once it is retired, it is closed after the last one.
	conns   int
	retired bool
}

var _ io.Closer = (*discoveredNetwork[filter.Network])(nil)

// discover makes the filter of a chain that has its configuration by ECDS; build makes it of a configuration.
func discover[F any](m *Manager, f *model.NetworkFilter, build func(*model.NetworkFilter) (F, error)) (*discoveredNetwork[F], error) {
	d := &discoveredNetwork[F]{name: f.Name, cfg: f.Discovery, find: m.filterConfig, log: m.opts.Log, build: build}
	if c := f.Discovery.Default; c != nil {
		made, err := d.make(c)
		if err != nil {
			return nil, fmt.Errorf("default_config: %w", err)
		}
		d.current = made
	}
	return d, nil
}

// filterConfig finds the configuration that ECDS delivered under a name, nil for none.
func (m *Manager) filterConfig(name string) *model.FilterConfig {
	if m.opts.FilterConfig == nil {
		return nil
	}
	return m.opts.FilterConfig(name)
}

func (d *discoveredNetwork[F]) make(c *model.FilterConfig) (*madeNetwork[F], error) {
	f, err := d.build(&model.NetworkFilter{Name: d.name, TypeURL: c.TypeURL, Config: c.Config})
	if err != nil {
		return nil, err
	}
	return &madeNetwork[F]{config: c, filter: f}, nil
}

// take gives the filter for a new connection, which ends with give; nil while there is no configuration.
func (d *discoveredNetwork[F]) take() *madeNetwork[F] {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	if d.current != nil {
		d.current.conns++
	}
	return d.current
}

// refresh makes the filter of the configuration in force. One of which none can be made leaves the last one in force.
func (d *discoveredNetwork[F]) refresh() {
	c := d.cfg.Choose(d.find(d.name))
	if c == nil {
		d.replace(nil)
		return
	}
	if d.current != nil && d.current.config == c || d.unusable == c {
		return
	}
	next, err := d.make(c)
	if err != nil {
		d.unusable = c
		d.log.Error("filter configuration cannot be used", "filter", d.name, "version", c.Version, "error", err)
		return
	}
	d.unusable = nil
	d.replace(next)
}

func (d *discoveredNetwork[F]) replace(next *madeNetwork[F]) {
	old := d.current
	d.current = next
	if old != nil {
		old.retired = true
		d.settle(old)
	}
}

// settle closes a filter that nothing needs any more.
func (d *discoveredNetwork[F]) settle(n *madeNetwork[F]) {
	if n.retired && n.conns == 0 {
		closeFilter(n.filter)
	}
}

// give ends a take.
func (d *discoveredNetwork[F]) give(n *madeNetwork[F]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n.conns--
	d.settle(n)
}

// Close implements io.Closer: there will be no further connection.
func (d *discoveredNetwork[F]) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.replace(nil)
	return nil
}

// closeFilter ends a filter that has something to end. Nothing depends on it any more, so that an error is of no interest.
func closeFilter(f any) {
	if c, ok := f.(io.Closer); ok {
		_ = c.Close()
	}
}

// disableable is a listener filter that some connections pass by.
type disableable struct {
	filter.Listener
	disabled *model.ListenerPredicate
}

// unlessDisabled is f with its filter_disabled, which may be nil. It is evaluated when the filters before it are done, for they may
// have found another local address.
func unlessDisabled(f filter.Listener, disabled *model.ListenerPredicate) filter.Listener {
	if disabled == nil || f == nil {
		return f
	}
	return &disableable{f, disabled}
}

// Inspect implements filter.Listener.
func (d *disableable) Inspect(ctx context.Context, c filter.PeekConn, info *streaminfo.Connection) (filter.ListenerVerdict, error) {
	if d.disabled.Matches(info.Local) {
		return filter.Continue, nil
	}
	return d.Listener.Inspect(ctx, c, info)
}

// discoveredListener is a listener filter whose configuration comes and changes by ECDS.
type discoveredListener struct {
	name     string
	cfg      *model.FilterDiscovery
	disabled *model.ListenerPredicate
	find     func(name string) *model.FilterConfig
	stats    *stats.Scope
	log      *slog.Logger

	mu     sync.Mutex
	config *model.FilterConfig
	filter filter.Listener
}

// newListenerFilter makes a listener filter of its decoded configuration.
func newListenerFilter(name string, config any, root *stats.Scope) (filter.Listener, error) {
	f, ok := config.(filter.Listener)
	if !ok {
		return nil, fmt.Errorf("listener filter %s: %T is not a listener filter", name, config)
	}
	if s, ok := f.(withStats); ok {
		f = s.WithStats(root)
	}
	return f, nil
}

// now is the filter of the configuration in force; nil while there is none.
func (d *discoveredListener) now() filter.Listener {
	c := d.cfg.Choose(d.find(d.name))
	d.mu.Lock()
	defer d.mu.Unlock()
	if c == d.config {
		return d.filter
	}
	f, err := newListenerFilter(d.name, configOf(c), d.stats)
	if err != nil && c != nil {
		d.log.Error("filter configuration cannot be used", "filter", d.name, "version", c.Version, "error", err)
	}
	d.config, d.filter = c, unlessDisabled(f, d.disabled)
	return d.filter
}

func configOf(c *model.FilterConfig) any {
	if c == nil {
		return nil
	}
	return c.Config
}

// listenerFilters makes the listener filters of a version. Those in discovered have an empty place in a.filters.
func (m *Manager) listenerFilters(a *active) error {
	for _, lf := range a.cfg.ListenerFilters {
		if lf.Discovery != nil {
			if a.discovered == nil {
				a.discovered = map[int]*discoveredListener{}
			}
			a.discovered[len(a.filters)] = &discoveredListener{
				name: lf.Name, cfg: lf.Discovery, disabled: lf.Disabled, find: m.filterConfig, stats: m.opts.Stats, log: m.opts.Log,
			}
			a.filters = append(a.filters, nil)
			continue
		}
		f, err := newListenerFilter(lf.Name, lf.Config, m.opts.Stats)
		if err != nil {
			return err
		}
		a.filters = append(a.filters, unlessDisabled(f, lf.Disabled))
	}
	return nil
}

// filtersNow are the listener filters for a new connection; false while one of them has no configuration.
func (a *active) filtersNow() ([]filter.Listener, bool) {
	if len(a.discovered) == 0 {
		return a.filters, true
	}
	now := make([]filter.Listener, len(a.filters))
	copy(now, a.filters)
	for i, d := range a.discovered {
		if now[i] = d.now(); now[i] == nil {
			return nil, false
		}
	}
	return now, true
}
