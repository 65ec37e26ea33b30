package explain

import (
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// info is what is known of the stream beside its request.
func (w *walk) info() *streaminfo.Info {
	c := &streaminfo.Connection{
		Local: w.q.Dst, Remote: w.source(), DirectRemote: w.source(), ServerName: w.q.SNI, ALPN: w.q.ALPN, TransportProtocol: "raw_buffer",
	}
	if w.q.TLS {
		c.TransportProtocol = "tls"
	}
	return &streaminfo.Info{Conn: c}
}

// unknownCriteria tells what routes of a virtual host ask for that explain cannot know.
func (w *walk) unknownCriteria(s *Step, v *model.VirtualHost) {
	var asked []string
	for _, r := range routesOf(v) {
		if r.Match.TLS != nil {
			asked = append(asked, "client certificates")
		}
		if len(r.Match.Metadata) > 0 {
			asked = append(asked, "dynamic metadata")
		}
		if len(r.Match.FilterState) > 0 {
			asked = append(asked, "filter state")
		}
	}
	slices.Sort(asked)
	if asked = slices.Compact(asked); len(asked) > 0 {
		s.note("Routes of the virtual host ask for %s, which explain does not know; it takes the request for one without.", strings.Join(asked, ", "))
	}
}

// countedFor tells which statistics the route's requests have beside those of the cluster.
func (w *walk) countedFor(s *Step, r *filter.Route, req *message.Request) {
	if r.Route.Action == nil {
		return
	}
	if len(r.VirtualHost.VirtualClusters) > 0 {
		name := "other"
		for i := range r.VirtualHost.VirtualClusters {
			if c := &r.VirtualHost.VirtualClusters[i]; match.Headers(c.Headers, req) {
				name = c.Name
				break
			}
		}
		s.detail("statistics", "vhost.%s.vcluster.%s", r.VirtualHost.Name, name)
	}
	if r.Route.StatPrefix != "" {
		s.detail("statistics", "vhost.%s.route.%s", r.VirtualHost.Name, r.Route.StatPrefix)
	}
}

// rateLimits tells the descriptors of the request.
func (w *walk) rateLimits(s *Step, r *filter.Route, req *message.Request) {
	stream := &filter.Stream{Request: req, Info: w.info()}
	for _, d := range r.Rules.Descriptors(nil, stream, r, filter.RateLimitsOfRoute) {
		var entries []string
		for _, e := range d.Entries {
			entries = append(entries, e.Key+"="+e.Value)
		}
		text := strings.Join(entries, ", ")
		if d.DisableKey != "" {
			text += " unless runtime key " + d.DisableKey + " turns it off"
		}
		s.detail("rate limit", "stage %d: %s", d.Stage, text)
	}
}
