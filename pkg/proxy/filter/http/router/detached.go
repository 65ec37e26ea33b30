package httprouter

import (
	"strings"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// detached is a stream beside the one that a downstream waits for: a copy of the request on its way to a shadow cluster, or an
// attempt beside others. It is its own host, which knows no routes and whose replies nobody sees.
type detached struct {
	filter.Stream
	req      message.Request
	resp     message.Response
	info     streaminfo.Info
	route    filter.Route
	complete func() bool // whether the request is; nil says that it is
}

var _ filter.Host = (*detached)(nil)

// detach makes a stream with a copy of a request's head, whose strings are those of the original.
func detach(s *filter.Stream) *detached {
	d := &detached{req: *s.Request, info: streaminfo.Info{
		Conn: s.Info.Conn, StreamID: s.Info.StreamID, Start: s.Info.Start, Protocol: s.Info.Protocol, Timing: s.Info.Timing,
		Dynamic: s.Info.Dynamic, FilterState: s.Info.FilterState, Upstream: s.Info.Upstream,
	}}
	d.req.Headers = message.Headers{}
	d.req.Headers.CopyFrom(&s.Request.Headers)
	d.Request, d.Response, d.Info, d.Host = &d.req, &d.resp, &d.info, d
	d.Aborted = func() error { return nil }
	d.Format = format.Context{Info: d.Info, Request: d.Request, Response: d.Response}
	return d
}

// own gives the stream strings that outlive the original.
func (d *detached) own() {
	r := &d.req
	for _, p := range []*string{&r.Method, &r.Scheme, &r.Authority, &r.Path, &r.Protocol} {
		*p = strings.Clone(*p)
	}
	r.Headers = *cloneHeaders(&r.Headers)
	r.Names = r.Names.Clone()
	d.info.Conn, d.info.Dynamic, d.info.FilterState, d.info.Upstream = nil, nil, nil, streaminfo.Upstream{}
}

// cloneHeaders copies headers with their strings, which share one piece of memory.
func cloneHeaders(h *message.Headers) *message.Headers {
	var b strings.Builder
	b.Grow(h.ByteSize())
	for f := range h.All() {
		b.WriteString(f.Name)
		b.WriteString(f.Value)
	}
	all, out := b.String(), &message.Headers{}
	out.CopyFrom(h)
	for f := range out.All() {
		n, m := len(f.Name), len(f.Name)+len(f.Value)
		f.Name, f.Value, all = all[:n], all[n:m], all[m:]
	}
	return out
}

// Route implements filter.Host.
func (d *detached) Route(*filter.Stream) filter.Route { return d.route }

// ClearRoute implements filter.Host.
func (*detached) ClearRoute(*filter.Stream) {}

// Reply implements filter.Host.
func (d *detached) Reply(_ *filter.Stream, r filter.Reply) *message.Response {
	d.resp.Reset()
	d.resp.Status = r.Status
	d.info.Flags |= r.Flags
	d.info.Details = r.Details
	return &d.resp
}

// Informational implements filter.Host.
func (*detached) Informational(*filter.Stream, *message.Response) error { return nil }

// Watch implements filter.Host.
func (*detached) Watch(*filter.Stream, filter.Aborter) error { return nil }

// Finish implements filter.Host.
func (*detached) Finish(*filter.Stream, filter.Ender) {}

// RequestComplete implements filter.Host.
func (d *detached) RequestComplete(*filter.Stream) bool { return d.complete == nil || d.complete() }
