package router

import (
	"strconv"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// choose fills in the route, its cluster and what the request counts for.
func (e *entry) choose(q *question, out *filter.Route) {
	out.Route, out.Rules = e.route, e
	a := e.route.Action
	if a == nil {
		return
	}
	switch {
	case len(a.Weighted) > 0:
		w := e.pickWeighted(q)
		if out.Weighted, out.Cluster = w, w.Name; w.Header != "" {
			out.Cluster, _ = q.req.Lookup(w.Header)
		}
	case a.ClusterHeader != "":
		out.Cluster, _ = q.req.Lookup(a.ClusterHeader)
	default:
		out.Cluster = a.Cluster
	}
	out.Records = e.records
	if e.host.virtual != nil {
		out.VirtualCluster = e.host.virtualCluster(q.req)
	}
}

// pickWeighted chooses by the header or the hash that the split names, or by the stream's random number.
func (e *entry) pickWeighted(q *question) *model.WeightedCluster {
	a := e.route.Action
	at := q.random
	if a.WeightedHeader != "" {
		if v, ok := q.req.Lookup(a.WeightedHeader); ok {
			if n, err := strconv.ParseUint(v, 10, 64); err == nil {
				at = n
			}
		}
	}
	if a.WeightedByHash {
		if h, ok := match.Hash(a.HashPolicy, q.req, q.info, nil); ok {
			at = h
		}
	}
	total := e.total
	if e.weightKeys != nil {
		total = 0
		for i := range a.Weighted {
			total += e.weight(i)
		}
		if total == 0 { // as nothing can be chosen by weight, the first one is
			return &a.Weighted[0]
		}
	}
	at %= total
	for i := range a.Weighted {
		w := e.weight(i)
		if at < w {
			return &a.Weighted[i]
		}
		at -= w
	}
	return &a.Weighted[len(a.Weighted)-1]
}

// weight of a cluster of the split, which a runtime key may replace.
func (e *entry) weight(i int) uint64 {
	if e.weightKeys != nil {
		if n, ok := e.table.opt.Runtime.Number(e.weightKeys[i]); ok {
			return min(n, 1<<32-1)
		}
	}
	return uint64(e.route.Action.Weighted[i].Weight)
}
