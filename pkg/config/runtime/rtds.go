package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Sources is what RTDS layers need of the xDS client.
type Sources interface {
	// Subscribe asks for a resource by name.
	Subscribe(src *model.Source, typeURL, name string)
}

// rtds is what is known of the layers that are delivered. Guarded by Runtime.mu.
type rtds struct {
	// waiting are the resources that did not come yet, with the timers that end the wait, which may be nil.
	waiting map[string]*time.Timer
	// settled is closed once nothing is waited for; nil until Subscribe.
	settled chan struct{}
	stats   *subscriptionStats
}

// subscriptionStats are Envoy's statistics of the subscriptions, below runtime.
type subscriptionStats struct {
	attempt, success, failure, rejected, fetchTimeout *stats.Counter
	version, updateTime                               *stats.Gauge
	versionText                                       *stats.TextReadout
	duration                                          *stats.Histogram
}

func newSubscriptionStats(scope *stats.Scope) *subscriptionStats {
	return &subscriptionStats{
		attempt: scope.Counter("update_attempt"), success: scope.Counter("update_success"), failure: scope.Counter("update_failure"),
		rejected: scope.Counter("update_rejected"), fetchTimeout: scope.Counter("init_fetch_timeout"),
		version: scope.Gauge("version"), updateTime: scope.Gauge("update_time"), versionText: scope.TextReadout("version_text"),
		duration: scope.Histogram("update_duration", stats.Milliseconds),
	}
}

// Subscribe asks for the RTDS layers. It is called once, when the clusters of their control planes are ready.
func (r *Runtime) Subscribe(sources Sources) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rtds.waiting, r.rtds.settled = map[string]*time.Timer{}, make(chan struct{})
	for _, l := range r.layers {
		if l.RTDS == nil {
			continue
		}
		if r.rtds.stats == nil {
			r.rtds.stats = newSubscriptionStats(r.opt.Stats.Scope("runtime"))
		}
		name := l.RTDS.Resource
		if _, twice := r.rtds.waiting[name]; !twice {
			var timer *time.Timer
			if d := l.RTDS.Source.InitialFetchTimeout; d > 0 {
				timer = time.AfterFunc(d, func() { r.fetchTimeout(name) })
				r.stop = append(r.stop, func() { timer.Stop() })
			}
			r.rtds.waiting[name] = timer
		}
		if !l.RTDS.Source.Polled() {
			r.rtds.stats.attempt.Inc()
		}
		sources.Subscribe(l.RTDS.Source, xds.RuntimeType, name)
	}
	if len(r.rtds.waiting) == 0 {
		close(r.rtds.settled)
	}
}

// Await returns when each RTDS layer has come, was rejected or is not waited for any longer (initial_fetch_timeout), or with the
// error of ctx. It comes after Subscribe.
func (r *Runtime) Await(ctx context.Context) error {
	r.mu.Lock()
	settled := r.rtds.settled
	r.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Waiting names the RTDS resources that start-up waits for.
func (r *Runtime) Waiting() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, l := range r.layers {
		if l.RTDS == nil {
			continue
		}
		if _, ok := r.rtds.waiting[l.RTDS.Resource]; ok {
			out = append(out, l.RTDS.Resource)
		}
	}
	return out
}

// settle ends the wait for a resource. Called with mu held.
func (r *Runtime) settle(name string) {
	timer, ok := r.rtds.waiting[name]
	if !ok {
		return
	}
	if timer != nil {
		timer.Stop()
	}
	if delete(r.rtds.waiting, name); len(r.rtds.waiting) == 0 {
		close(r.rtds.settled)
	}
}

func (r *Runtime) fetchTimeout(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.rtds.waiting[name]; !ok {
		return
	}
	r.rtds.stats.fetchTimeout.Inc()
	for _, l := range r.layers {
		if l.RTDS != nil && l.RTDS.Resource == name && !l.RTDS.Source.Polled() {
			r.rtds.stats.attempt.Inc()
			break
		}
	}
	r.opt.Log.Warn("gave up waiting for a runtime layer; going on without it", "resource", name)
	r.settle(name)
}

// Handler takes what sources deliver of runtime layers, and passes all else on to next.
func (r *Runtime) Handler(next xds.Handler) xds.Handler { return handler{next, r} }

// handler is an xds.Handler with the runtime in front of another one, which hears of connections alone.
type handler struct {
	xds.Handler
	runtime *Runtime
}

var _ xds.Handler = handler{}

// Update implements xds.Handler.
func (h handler) Update(ctx context.Context, u xds.Update) error {
	if u.Type != xds.RuntimeType {
		return h.Handler.Update(ctx, u)
	}
	return h.runtime.update(u)
}

// Attempt implements xds.Handler.
func (h handler) Attempt(a xds.Asked) {
	if a.Type != xds.RuntimeType {
		h.Handler.Attempt(a)
	} else if s := h.runtime.subscription(); s != nil {
		s.attempt.Add(uint64(len(a.Names)))
	}
}

// Failure implements xds.Handler.
func (h handler) Failure(a xds.Asked, err error) {
	if a.Type != xds.RuntimeType {
		h.Handler.Failure(a, err)
	} else if s := h.runtime.subscription(); s != nil {
		n := uint64(len(a.Names))
		if !h.runtime.polled(a.Source) {
			s.attempt.Add(n)
		}
		if errors.Is(err, xds.ErrUnreadable) { // as Envoy counts
			s.rejected.Add(n)
			return
		}
		s.failure.Add(n)
	}
}

// polled tells whether a source of layers is polled, whose requests are the attempts. On a stream, as Envoy counts, its
// beginning, each response and each failure is one.
func (r *Runtime) polled(source string) bool {
	for _, l := range r.layers {
		if l.RTDS != nil && l.RTDS.Source.ID() == source {
			return l.RTDS.Source.Polled()
		}
	}
	return false
}

func (r *Runtime) subscription() *subscriptionStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rtds.stats
}

// update applies a response. Resources that no layer asks for are ignored; a layer whose resource is bad stays as it is, and
// start-up does not wait for it any longer.
func (r *Runtime) update(u xds.Update) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	start := time.Now()
	var errs []error
	var done []string
	changed := false
	for _, res := range u.Resources {
		if res.Body == nil {
			continue // a heart-beat
		}
		name, values, err := decode(res)
		if !r.set(name, values, err == nil) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		} else {
			changed = true
		}
		done = append(done, name)
	}
	for _, name := range u.Removed {
		if r.set(name, nil, true) {
			changed = true
			done = append(done, name)
		}
	}
	if changed {
		r.reload()
	}
	r.count(u, start, errs)
	for _, name := range done {
		r.settle(name)
	}
	return errors.Join(errs...)
}

// set gives the layers of a resource their values, unless these are bad, and tells whether there are such layers. Called with mu
// held.
func (r *Runtime) set(name string, values map[string]model.RuntimeValue, good bool) bool {
	found := false
	for _, l := range r.layers {
		if l.RTDS == nil || l.RTDS.Resource != name {
			continue
		}
		found = true
		if good {
			l.values = values
		}
	}
	return found
}

func (r *Runtime) count(u xds.Update, start time.Time, errs []error) {
	s := r.rtds.stats
	if s == nil {
		return
	}
	if !r.polled(u.Source) {
		s.attempt.Inc()
	}
	if len(errs) > 0 {
		s.rejected.Inc()
		r.opt.Log.Warn("rejected a runtime layer", "error", errors.Join(errs...))
		return
	}
	s.success.Inc()
	s.updateTime.Set(uint64(start.UnixMilli()))
	s.duration.Record(uint64(time.Since(start).Milliseconds()))
	s.versionText.Set(u.Version)
	s.version.SetHash(xxhash.Sum64String(u.Version)) // Envoy's hash
}

// decode reads a resource. Its name is known even where its values are bad, if it can be.
func decode(res xds.Resource) (name string, values map[string]model.RuntimeValue, err error) {
	if res.Body.GetTypeUrl() != xds.RuntimeType {
		return res.Name, nil, fmt.Errorf("resource is a %s, not a %s", res.Body.GetTypeUrl(), xds.RuntimeType)
	}
	m := &runtimev3.Runtime{}
	if err := res.Body.UnmarshalTo(m); err != nil {
		return res.Name, nil, fmt.Errorf("decode resource: %w", err)
	}
	if name = m.GetName(); name == "" {
		name = res.Name
	}
	values, err = Flatten(m.GetLayer())
	return name, values, err
}
