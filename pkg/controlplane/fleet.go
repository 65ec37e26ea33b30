package controlplane

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	subscription "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
)

// everyone is the group of clients that have none of their own.
const everyone = ""

// errNothingYet answers those that cannot wait for the first set.
var errNothingYet = errors.New("there are no resources yet")

// fleet is the cache that the library's streams ask. Unlike the library's own caches it knows aliases, collections and
// groups, answers for names that do not exist, and spends on a change what the change is worth: a resource is encoded
// and hashed once for all clients, and only clients that want what changed are looked at in full.
//
// One mutex guards it. An open watch has told its client all there is; commit answers those that a change concerns.
type fleet struct {
	groupOf func(*corev3.Node) string

	mu    sync.Mutex
	views map[string]*view
	// streams are those that have not answered all that they were sent.
	streams map[streamKey]*stream
}

// view is what the clients of a group see.
type view struct {
	set *set // nil before the first one
	// watches wait for changes, by type.
	watches map[string]map[*watch]struct{}
	// of is the stream that it is of alone; nil is a group.
	of streamKey
}

// watch is a client's wish to be told of changes of a type.
type watch struct {
	group string
	url   string
	sub   cache.Subscription
	// brought is what a client had that came back with the version that is served, of which this stream sent nothing; else nil.
	brought map[string]string
	// One of each pair is set.
	request      *cache.Request
	answers      chan cache.Response
	deltaRequest *cache.DeltaRequest
	deltaAnswers chan cache.DeltaResponse
}

var _ cache.Cache = (*fleet)(nil)

func newFleet(groupOf func(*corev3.Node) string) *fleet {
	return &fleet{groupOf: groupOf, views: map[string]*view{everyone: newView(nil)}, streams: map[streamKey]*stream{}}
}

func newView(s *set) *view { return &view{set: s, watches: map[string]map[*watch]struct{}{}} }

// view is that of a group, which need not have one of its own.
func (f *fleet) view(group string) *view {
	if v := f.views[group]; v != nil {
		return v
	}
	return f.views[everyone]
}

// CreateWatch implements cache.Cache: it answers, at once or when something changes.
func (f *fleet) CreateWatch(r *cache.Request, sub cache.Subscription, answers chan cache.Response) (func(), error) {
	w := &watch{group: f.groupOf(r.GetNode()), url: r.GetTypeUrl(), sub: sub, request: r, answers: answers}
	return f.watch(w, r.GetResponseNonce() == "")
}

// CreateDeltaWatch implements cache.Cache.
func (f *fleet) CreateDeltaWatch(r *cache.DeltaRequest, sub cache.Subscription, answers chan cache.DeltaResponse) (func(), error) {
	w := &watch{group: f.groupOf(r.GetNode()), url: r.GetTypeUrl(), sub: sub, deltaRequest: r, deltaAnswers: answers}
	return f.watch(w, r.GetResponseNonce() == "")
}

// watch answers w or remembers it. first is the first request for the type on a stream.
func (f *fleet) watch(w *watch, first bool) (cancel func(), err error) {
	if kindOf(w.url) == nil {
		return func() {}, nil // the stream may have other types that can be served
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams[w.key()].answered(w.url)
	v := f.viewOf(w)
	if v.set != nil && w.answer(v.set.tables[w.url], nil, first) {
		f.owes(w)
	} else {
		v.add(w)
		f.settle(w.key())
	}
	return func() { f.forget(w) }, nil
}

func (v *view) add(w *watch) {
	if v.watches[w.url] == nil {
		v.watches[w.url] = map[*watch]struct{}{}
	}
	v.watches[w.url][w] = struct{}{}
}

// commit replaces the sets of all groups. Each group's clients are told in the order of steps. A group that is new begins
// with what its clients had as part of everyone, and one that is gone ends with it.
func (f *fleet) commit(next map[string]*set) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for group := range next {
		if f.views[group] == nil {
			f.split(group)
		}
	}
	f.advance(f.views[everyone], next[everyone], true)
	for group, v := range f.views {
		switch to := next[group]; {
		case group == everyone:
		case to == nil:
			f.advance(v, next[everyone], true)
			f.merge(group)
		default:
			f.advance(v, to, true)
		}
	}
}

// split gives a group a view of its own.
func (f *fleet) split(group string) {
	all := f.views[everyone]
	own := newView(all.set)
	for _, watches := range all.watches {
		for w := range watches {
			if w.group == group {
				delete(watches, w)
				own.add(w)
			}
		}
	}
	f.views[group] = own
}

// merge puts a group whose clients see what everyone sees among everyone.
func (f *fleet) merge(group string) {
	for _, watches := range f.views[group].watches {
		for w := range watches {
			f.views[everyone].add(w)
		}
	}
	delete(f.views, group)
}

// advance takes a view to another set step by step and answers the watches that each step concerns. When patient, clients
// that have not answered all that they were sent are told later of what is gone.
func (f *fleet) advance(v *view, to *set, patient bool) {
	if v.set == nil {
		for url, watches := range v.watches {
			for w := range watches {
				if w.answer(to.tables[url], nil, true) {
					delete(watches, w)
					f.owes(w)
				}
			}
		}
		v.set = to
		return
	}
	makes, breaks := steps(v.set, to)
	f.take(v, makes)
	if patient && len(breaks) > 0 {
		f.holdBack(v, to, breaks)
	}
	f.take(v, breaks)
	v.set = to
}

// take answers the watches of a view that steps concern.
func (f *fleet) take(v *view, steps []step) {
	for _, s := range steps {
		for w := range v.watches[s.url] {
			if w.answer(s.table, s.changed, false) {
				delete(v.watches[s.url], w)
				f.owes(w)
			}
		}
	}
}

// Fetch implements cache.Cache for polling. The version is that of what the client asked for, not of the whole type, so
// that one that asks for other names gets them.
func (f *fleet) Fetch(_ context.Context, r *cache.Request) (cache.Response, error) {
	a, err := f.fetch(r)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// fetch is Fetch with an answer of this package.
func (f *fleet) fetch(r *cache.Request) (*sotwAnswer, error) {
	if kindOf(r.GetTypeUrl()) == nil {
		return nil, fmt.Errorf("fetch %q: only %s can be served", r.GetTypeUrl(), kindNames())
	}
	f.mu.Lock()
	s := f.view(f.groupOf(r.GetNode())).set
	f.mu.Unlock()
	if s == nil {
		return nil, errNothingYet
	}
	sub := subscription.NewSotwSubscription(r.GetResourceNames(), true)
	asked, _ := s.tables[r.GetTypeUrl()].wanted(sub)
	wanted := make(map[string]*item, len(asked))
	for _, i := range asked {
		wanted[i.name] = i
	}
	t := newTable(wanted)
	if t.version == r.GetVersionInfo() {
		return nil, &types.SkipFetchError{}
	}
	return &sotwAnswer{request: r, version: t.version, items: t.sorted(), full: true}, nil
}
