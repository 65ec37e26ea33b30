package explain

import (
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// filters tells which HTTP filters run because of the route, or do not.
func (w *walk) filters(s *Step, cfg *model.HTTPConnectionManager, r *filter.Route) {
	if !r.Overrides() || len(cfg.HTTPFilters) == 0 {
		return
	}
	var on, off []string
	for _, f := range cfg.HTTPFilters[:len(cfg.HTTPFilters)-1] {
		o := r.Override(f.Name)
		switch {
		case o == nil || o.Disabled == f.Disabled:
		case o.Disabled:
			off = append(off, f.Name)
		default:
			on = append(on, f.Name)
		}
	}
	if len(on) > 0 {
		s.detail("filters on", "%s", strings.Join(on, ", "))
	}
	if len(off) > 0 {
		s.detail("filters off", "%s", strings.Join(off, ", "))
	}
}
