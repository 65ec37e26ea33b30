package explain

import (
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// asides tells what else comes of a request that a route forwards: copies, redirects that are followed, tunnels.
func (w *walk) asides(s *Step, r *filter.Route, a *model.RouteAction, req *message.Request) {
	for _, m := range r.Mirrors() {
		name := m.Cluster
		if m.ClusterHeader != "" {
			if name, _ = req.Lookup(m.ClusterHeader); name == "" {
				continue
			}
		}
		some := ""
		if m.Fraction != nil {
			some = ", of some requests"
		}
		s.detail("copy", "to cluster %s%s; its response is dropped", name, some)
	}
	if p := a.InternalRedirect; p != nil {
		s.detail("follows", "%s of the upstream, as another request", counted(int64(p.Max), "redirect"))
	}
	for i := range a.Upgrades {
		if u := &a.Upgrades[i]; u.Terminate && !u.Disabled && strings.EqualFold(u.Type, req.Method) {
			s.detail("tunnel", "the upstream is spoken to in TCP")
		}
	}
}
