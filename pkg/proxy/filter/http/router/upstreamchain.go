package httprouter

import (
	"errors"
	"fmt"
	"io"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// upstreamChain is a chain of upstream filters; configs and filters have equal length.
type upstreamChain struct {
	configs []*model.HTTPFilter
	filters []filter.HTTP
	// usual are the filters that are enabled where no route says otherwise.
	usual []filter.HTTP
	err   error // why it could not be made, which requests learn
}

// newUpstreamChain makes the filters of a chain.
func newUpstreamChain(list []*model.HTTPFilter, d filter.Deps) (*upstreamChain, error) {
	c := &upstreamChain{configs: list}
	var errs []error
	for i, f := range list {
		h, err := filter.New(f, d)
		if err != nil {
			errs = append(errs, fmt.Errorf("upstream http filter %q: %w", f.Name, err))
			continue
		}
		c.filters = append(c.filters, h)
		if !f.Disabled || i == len(list)-1 {
			c.usual = append(c.usual, h)
		}
	}
	return c, errors.Join(errs...)
}

// Close implements io.Closer: it ends the filters that have something to end.
func (c *upstreamChain) Close() error {
	var errs []error
	for _, f := range c.filters {
		if closer, ok := f.(io.Closer); ok {
			errs = append(errs, closer.Close())
		}
	}
	return errors.Join(errs...)
}

// enabled are the filters for a stream; buf is used when a route has a say in that.
func (c *upstreamChain) enabled(s *filter.Stream, rt *filter.Route, buf []filter.HTTP) []filter.HTTP {
	if !rt.Overrides() {
		return append(buf, c.usual...)
	}
	for i, f := range c.filters {
		off := c.configs[i].Disabled
		if o := s.Override(c.configs[i].Name); o != nil {
			off = o.Disabled
		}
		if !off || i == len(c.filters)-1 {
			buf = append(buf, f)
		}
	}
	return buf
}

// attacher is a cluster that keeps something for as long as it lives.
type attacher interface {
	Attach(create func() any) any
}

// upstreamChain is what attempts have to go through: the chain of the cluster, else that of the router; nil for none.
func (x *exchange) upstreamChain() *upstreamChain {
	cfg := x.cluster.Config()
	if len(cfg.Filters) == 0 {
		return x.f.upstream
	}
	keeper, ok := x.cluster.(attacher)
	if !ok {
		return x.f.upstream
	}
	return keeper.Attach(func() any {
		d := x.f.deps
		d.Stats = x.cluster.Stats().Scope()
		c, err := newUpstreamChain(cfg.Filters, d)
		c.err = err
		return c
	}).(*upstreamChain)
}

// upstreamRun is the stream of one attempt in an upstream chain, and its host.
type upstreamRun struct {
	filter.Host // the downstream's
	x           *exchange
	stream      filter.Stream
	req         message.Request
	buf         []filter.HTTP
}

var _ filter.UpstreamHost = (*upstreamRun)(nil)

// through takes the attempt through a chain. The filters get a copy of the request, so that the next attempt begins with
// what this one began with.
func (x *exchange) through(c *upstreamChain) error {
	if c.err != nil {
		return c.err
	}
	if x.chained == nil {
		x.chained = &upstreamRun{x: x}
	}
	u, s := x.chained, x.s
	u.end()
	u.Host = s.Host
	headers := u.req.Headers
	u.req = *s.Request
	u.req.Headers = headers
	u.req.Headers.CopyFrom(&s.Request.Headers)
	u.stream.Request, u.stream.Response, u.stream.Info, u.stream.Host = &u.req, s.Response, s.Info, u
	u.stream.Aborted, u.stream.Format = s.Aborted, s.Format
	u.stream.Format.Request = &u.req
	u.buf = u.buf[:0]
	u.buf = c.enabled(&u.stream, &x.route, u.buf)
	u.stream.SetChain(u.buf)
	resp, err := u.stream.Next()
	if err != nil {
		return err
	}
	if resp != s.Response {
		*s.Response = *resp
	}
	return nil
}

// end tells the filters that the attempt is over.
func (u *upstreamRun) end() {
	u.stream.End()
	u.stream.Release()
	u.stream.Arena.Reset()
	u.req.Reset()
	u.Host = nil
	clear(u.buf)
}

// Exchange implements filter.UpstreamHost.
func (u *upstreamRun) Exchange(s *filter.Stream) (*message.Response, error) {
	x := u.x
	if err := x.blockOn(x.stream); err != nil {
		return nil, err
	}
	if err := x.stream.RoundTrip(s.Request, s.Response, x.onInfo); err != nil {
		return nil, err
	}
	return s.Response, nil
}

// Route implements filter.Host.
func (u *upstreamRun) Route(*filter.Stream) filter.Route { return u.x.route }

// ClearRoute implements filter.Host: the route of an attempt is settled.
func (u *upstreamRun) ClearRoute(*filter.Stream) {}

// Watch implements filter.Host.
func (u *upstreamRun) Watch(_ *filter.Stream, a filter.Aborter) error {
	if a == nil {
		return u.x.unblock()
	}
	return u.x.blockOn(a)
}

// Finish implements filter.Host.
func (u *upstreamRun) Finish(s *filter.Stream, e filter.Ender) { s.AtEnd(e) }
