package httprouter

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// mirror sends copies of the request to shadow clusters. It must not make the request itself wait: whatever goes wrong only
// ends a copy.
func (x *exchange) mirror(list []model.Mirror) {
	for i := range list {
		m := &list[i]
		name := m.Cluster
		if m.ClusterHeader != "" {
			name, _ = x.s.Request.Lookup(m.ClusterHeader)
		}
		if name == "" || !x.f.drawn(m.Fraction) {
			continue
		}
		c := x.f.deps.Clusters.Cluster(name)
		if c == nil {
			continue
		}
		d := detach(x.s)
		d.own()
		if !m.KeepHost {
			d.req.Authority = shadowHost(d.req.Authority)
		}
		x.f.claim(&d.req.Headers)
		var p *pipe
		if x.s.Request.Body != nil {
			p = newPipe(x.route.Rules.BufferLimit(x.f.deps.BufferLimit))
			d.req.Body, d.complete = p, func() bool { return false }
		}
		if x.f.shadows.start(x.f, d, c, x.shadowRoute(c)) && p != nil {
			x.send.taps = append(x.send.taps, p)
		}
	}
}

// claim marks a copy as a request that comes from here, as Envoy marks all requests that it makes itself.
func (f *Filter) claim(h *message.Headers) {
	h.SetID(message.XEnvoyInternal, "true")
	if !f.deps.LocalAddr.IsValid() {
		return
	}
	from := f.deps.LocalAddr.String()
	if old, ok := h.Joined("x-forwarded-for"); ok && old != "" {
		from = old + "," + from
	}
	h.SetID(message.XForwardedFor, from)
}

// shadowHost marks a host as that of a mirrored request, before the port.
func shadowHost(host string) string {
	bare := router.WithoutPort(host)
	return bare + "-shadow" + host[len(bare):]
}

// shadowRoute is how a copy is sent: with the timeout of the original, without retries.
func (x *exchange) shadowRoute(c filter.Cluster) filter.Route {
	return filter.Route{
		Config: &model.RouteConfig{}, VirtualHost: &model.VirtualHost{}, Cluster: c.Config().Name, Rules: noRules{},
		Route: &model.Route{Action: &model.RouteAction{Timeout: x.limits.global, GRPCTimeoutMax: -1, HighPriority: x.opt.HighPriority}},
	}
}

// drawn tells whether this request is among a fraction, as that of a route is told.
func (f *Filter) drawn(fr *model.Fraction) bool {
	return fr == nil || f.deps.Runtime.Drawn(fr, random())
}

// shadows are the copies under way.
type shadows struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	active map[*detached]*exchange
	closed bool
}

// start sends a copy on a goroutine of its own, unless the filter is closed.
func (sh *shadows) start(f *Filter, d *detached, c filter.Cluster, rt filter.Route) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return false
	}
	if sh.active == nil {
		sh.active = make(map[*detached]*exchange)
	}
	d.route = rt
	x := f.pool.Get().(*exchange)
	if p, ok := d.req.Body.(*pipe); ok {
		p.broken = func() { sh.abort(d) }
	}
	x.begin(&d.Stream, &rt, c)
	sh.active[d] = x
	sh.wg.Go(func() {
		if bad := send(x); bad != nil {
			f.panicked(bad)
		}
		_ = x.send.Close() // a copy that is over wants no more of its body
		x.End()
		sh.mu.Lock()
		delete(sh.active, d)
		sh.mu.Unlock()
		x.Release()
	})
	return true
}

// send sends a copy and reads what comes back. The error is a panic.
func send(x *exchange) (bad *upstream.Error) {
	defer func() { bad = upstream.Recovered(recover()) }()
	resp, err := x.run()
	if err == nil && resp.Body != nil {
		drain(resp.Body)
	}
	return nil
}

// panicked logs a panic that no request is to suffer from.
func (f *Filter) panicked(bad *upstream.Error) {
	if p, ok := errors.AsType[*upstream.Panic](bad); ok {
		f.deps.Log.Error("panic while sending a mirrored request", "panic", p.Value, "stack", string(p.Stack))
	}
}

// abort ends a copy, unless it is over.
func (sh *shadows) abort(d *detached) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if x := sh.active[d]; x != nil {
		x.Abort(errShadowCut)
	}
}

// drain reads a response that nobody wants.
func drain(b message.Body) {
	var buf [4 << 10]byte
	for {
		if _, err := b.Read(buf[:]); err != nil {
			return
		}
	}
}

// close ends the copies under way and waits for them.
func (sh *shadows) close() {
	sh.mu.Lock()
	sh.closed = true
	for _, x := range sh.active {
		x.Abort(context.Canceled)
	}
	sh.mu.Unlock()
	sh.wg.Wait()
}

// noRules leave messages as they are.
type noRules struct{}

// FinalizeRequest implements filter.Rules.
func (noRules) FinalizeRequest(*filter.Stream, *filter.Route, bool) {}

// FinalizeResponse implements filter.Rules.
func (noRules) FinalizeResponse(*filter.Stream, *filter.Route, *message.Response) {}

// Location implements filter.Rules.
func (noRules) Location(*filter.Stream, *filter.Route) string { return "" }

// Retry implements filter.Rules.
func (noRules) Retry() *model.RetryPolicy { return nil }

// BufferLimit implements filter.Rules.
func (noRules) BufferLimit(connection int) int { return connection }

// Descriptors implements filter.Rules.
func (noRules) Descriptors(dst []filter.Descriptor, _ *filter.Stream, _ *filter.Route, _ filter.RateLimitLevel) []filter.Descriptor {
	return dst
}

var (
	_ filter.Rules = noRules{}
	_ io.Closer    = (*Filter)(nil)
)
