package translate

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// udp warns about unknown clusters: Envoy accepts them, and drops what would go there.
func (r *references) udp(resource, at string, p *model.UDPProxy) {
	r.cluster(resource, at+".cluster", p.Cluster, false, "datagrams are dropped")
	for i, route := range p.Routes {
		r.cluster(resource, fmt.Sprintf("%s.matcher.(route %d).cluster", at, i+1), route.Cluster, false, "datagrams are dropped")
	}
}

// dns warns about unknown clusters: Envoy accepts them, and has no answer for names that point there.
func (r *references) dns(resource, at string, f *model.DNSFilter) {
	const outcome = "names that point there have no address"
	for _, d := range f.Domains {
		at := at + ".server_config.(virtual domain " + d.Name + ").endpoint"
		if d.Cluster != "" {
			r.cluster(resource, at+".cluster_name", d.Cluster, false, outcome)
		}
		for _, s := range d.Services {
			for i, t := range s.Targets {
				if t.Cluster != "" {
					r.cluster(resource, fmt.Sprintf("%s.service_list.(service %s).targets[%d].cluster_name", at, s.Name, i), t.Cluster, false, outcome)
				}
			}
		}
	}
}
