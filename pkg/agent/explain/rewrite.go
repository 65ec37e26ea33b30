package explain

import (
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// rewritten says what the route changes about a request: path, host and headers, "" when nothing. Values that only a real
// connection has, such as addresses, are left out; see computes.
func rewritten(r *filter.Route, req *message.Request) string {
	after := *req
	after.Headers = message.Headers{}
	after.Headers.CopyFrom(&req.Headers)
	s := &filter.Stream{Request: &after, Info: &streaminfo.Info{Conn: &streaminfo.Connection{}}}
	s.Format = format.Context{Info: s.Info, Request: &after}
	r.Rules.FinalizeRequest(s, r, false)
	var parts []string
	if after.Path != req.Path {
		parts = append(parts, "path "+after.Path)
	}
	if after.Authority != req.Authority {
		parts = append(parts, "host "+after.Authority)
	}
	switch a := r.Route.Action; {
	case a == nil:
	case a.AutoHostRewrite:
		parts = append(parts, "host of the endpoint (auto_host_rewrite)")
	}
	for f := range after.Headers.All() {
		if !hasField(&req.Headers, f.Name, f.Value) {
			parts = append(parts, "+ "+f.Name+": "+f.Value)
		}
	}
	for f := range req.Headers.All() {
		if _, ok := after.Headers.Lookup(f.Name); !ok {
			parts = append(parts, "- "+f.Name)
		}
	}
	return strings.Join(parts, "; ")
}

func hasField(h *message.Headers, name, value string) bool {
	for f := range h.All() {
		if strings.EqualFold(f.Name, name) && f.Value == value {
			return true
		}
	}
	return false
}

// computes tells whether the route adds request headers with command operators in their values.
func computes(r *filter.Route) bool {
	levels := []*model.HeaderMutations{&r.Config.Headers, &r.VirtualHost.Headers, &r.Route.Headers}
	if a := r.Route.Action; a != nil {
		for i := range a.Weighted {
			levels = append(levels, &a.Weighted[i].Headers)
		}
	}
	return slices.ContainsFunc(levels, func(m *model.HeaderMutations) bool {
		return slices.ContainsFunc(m.RequestAdd, func(h model.HeaderOption) bool { return strings.Contains(h.Value, "%") })
	})
}
