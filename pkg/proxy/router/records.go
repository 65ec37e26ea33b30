package router

import (
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// otherCluster counts the requests that fit none of a virtual host's virtual clusters.
const otherCluster = "other"

// virtualCluster counts the requests that its matchers accept.
type virtualCluster struct {
	matchers []model.HeaderMatcher
	records  *filter.Records
}

// recordsScope is the scope of one kind of statistics of a virtual host. There must be a scope for it to be in.
func (t *Table) recordsScope(vhost, kind, name string) *stats.Scope {
	sc := t.opt.Stats.Scope("vhost." + vhost + "." + kind + "." + name)
	t.scopes = append(t.scopes, sc)
	return sc
}

// compileVirtualClusters appends one for all other requests.
func (t *Table) compileVirtualClusters(v *model.VirtualHost) []virtualCluster {
	if len(v.VirtualClusters) == 0 || t.opt.Stats == nil {
		return nil
	}
	var out []virtualCluster
	for i := range v.VirtualClusters {
		c := &v.VirtualClusters[i]
		out = append(out, virtualCluster{c.Headers, filter.NewRecords(c.Name, t.recordsScope(v.Name, "vcluster", c.Name))})
	}
	return append(out, virtualCluster{nil, filter.NewRecords(otherCluster, t.recordsScope(v.Name, "vcluster", otherCluster))})
}

// virtualCluster is the first one of the host that accepts the request; nil when the host has none.
func (h *host) virtualCluster(r *message.Request) *filter.Records {
	for i := range h.virtual {
		if match.Headers(h.virtual[i].matchers, r) {
			return h.virtual[i].records
		}
	}
	return nil
}

// Close gives the table's statistics up; streams that still use the table may go on counting.
func (t *Table) Close() {
	for _, sc := range t.scopes {
		sc.Close()
	}
	if t.dynamic != nil {
		t.dynamic.close()
	}
}
