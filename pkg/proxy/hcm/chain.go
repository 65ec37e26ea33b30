package hcm

import (
	"errors"
	"fmt"
	"io"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// chain is a list of HTTP filters; configs and filters have equal length.
type chain struct {
	configs []*model.HTTPFilter
	filters []filter.HTTP
	// usual are the filters that are enabled where no route says otherwise.
	usual []filter.HTTP
}

func (m *Manager) buildChain(list []*model.HTTPFilter) (chain, error) {
	var c chain
	var errs []error
	d := filter.Deps{
		Stats: m.stats.scope, Log: m.deps.Log, Wheel: m.deps.Wheel, Clusters: m.deps.Clusters,
		BufferLimit: m.deps.BufferLimit, Buffers: filter.NewBuffers(m.stats.scope), LocalCluster: m.deps.ServiceCluster,
		LocalAddr: m.deps.LocalAddr, HealthFailed: m.deps.HealthFailed, Runtime: m.deps.Runtime, FilterConfig: m.deps.FilterConfig,
	}
	if m.deps.OnDemand != nil {
		d.OnDemand = m.deps.OnDemand
	}
	if m.deps.AccessLogs != nil {
		d.BuildLogs = m.deps.AccessLogs.Build
	}
	for i, f := range list {
		h, err := filter.New(f, d)
		if err != nil {
			errs = append(errs, fmt.Errorf("http filter %q: %w", f.Name, err))
			continue
		}
		c.configs, c.filters = append(c.configs, f), append(c.filters, h)
		if !f.Disabled || i == len(list)-1 {
			c.usual = append(c.usual, h)
		}
	}
	if len(list) == 0 {
		errs = append(errs, errors.New("http filters: there is none, and the last one must be terminal"))
	}
	return c, errors.Join(errs...)
}

// choose returns the filters that are enabled for the stream's route; buf is used when a route has a say in that.
func (c *chain) choose(s *filter.Stream, rt *filter.Route, buf []filter.HTTP) (use, scratch []filter.HTTP) {
	if !rt.Overrides() {
		return c.usual, buf
	}
	buf = buf[:0]
	for i, f := range c.filters {
		off := c.configs[i].Disabled
		if o := s.Override(c.configs[i].Name); o != nil {
			off = o.Disabled
		}
		if !off || i == len(c.filters)-1 {
			buf = append(buf, f)
		}
	}
	return buf, buf
}

// closeChains ends the filters that have something to end.
func (m *Manager) closeChains() {
	m.chain.close(m)
	for _, u := range m.upgrade {
		if u.chain != nil {
			u.chain.close(m)
		}
	}
}

func (c *chain) close(m *Manager) {
	for _, f := range c.filters {
		m.closeFilter(f)
	}
}

func (m *Manager) closeFilter(f filter.HTTP) {
	if closer, ok := f.(io.Closer); ok {
		if err := closer.Close(); err != nil {
			m.deps.Log.Warn("close http filter", "error", err)
		}
	}
}
