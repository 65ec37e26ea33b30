package controlplane

import (
	"context"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc/peer"
)

// hooks finds the talks of the streams of one library server, which counts its streams by itself.
type hooks struct {
	clients *clients
	delta   bool

	mu    sync.Mutex
	talks map[int64]*talk
}

func newHooks(c *clients, delta bool) *hooks {
	return &hooks{clients: c, delta: delta, talks: map[int64]*talk{}}
}

func (h *hooks) open(ctx context.Context, id int64, url string) {
	t := h.clients.open(url, peerOf(ctx), h.delta)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.talks[id] = t
}

func (h *hooks) talk(id int64) *talk {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.talks[id]
}

func (h *hooks) closed(id int64) {
	h.mu.Lock()
	t := h.talks[id]
	delete(h.talks, id)
	h.mu.Unlock()
	if t != nil {
		h.clients.close(t)
	}
}

// caller is where a call comes from, and who its certificate says it is.
type caller struct{ addr, identity string }

// peerOf is the caller of a call.
func peerOf(ctx context.Context) caller {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}
	}
	a, _ := p.Addr.(peerAddr)
	return caller{p.Addr.String(), a.identity}
}

// sotwHooks are the library's callbacks for the state of the world.
type sotwHooks struct{ *hooks }

var _ sotw.Callbacks = sotwHooks{}

// OnStreamOpen implements sotw.Callbacks.
func (h sotwHooks) OnStreamOpen(ctx context.Context, id int64, url string) error {
	h.open(ctx, id, url)
	return nil
}

// OnStreamClosed implements sotw.Callbacks.
func (h sotwHooks) OnStreamClosed(id int64, _ *corev3.Node) { h.closed(id) }

// OnStreamRequest implements sotw.Callbacks.
func (h sotwHooks) OnStreamRequest(id int64, r *discoveryv3.DiscoveryRequest) error {
	h.clients.heard(h.talk(id), request{
		url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), node: r.GetNode(), detail: r.GetErrorDetail(), names: r.GetResourceNames(),
	})
	return nil
}

// OnStreamResponse implements sotw.Callbacks.
func (h sotwHooks) OnStreamResponse(ctx context.Context, id int64, _ *discoveryv3.DiscoveryRequest, r *discoveryv3.DiscoveryResponse) {
	a, ok := ctx.Value(answerKey{}).(*sotwAnswer)
	if !ok {
		return
	}
	said := responseOf(a)
	said.nonce = r.GetNonce()
	h.clients.saying(h.talk(id), said)
}

// responseOf describes an answer of the state of the world.
func responseOf(a *sotwAnswer) response {
	names := make([]string, len(a.items)) // in their order
	for i, x := range a.items {
		names[i] = x.name
	}
	return response{
		url: a.request.GetTypeUrl(), version: a.version, full: a.full, names: names,
		hold: func(i int) held { return held{version: a.items[i].version, body: a.items[i].body} },
	}
}

// deltaHooks are the library's callbacks for the incremental protocol.
type deltaHooks struct{ *hooks }

var _ delta.Callbacks = deltaHooks{}

// OnDeltaStreamOpen implements delta.Callbacks.
func (h deltaHooks) OnDeltaStreamOpen(ctx context.Context, id int64, url string) error {
	h.open(ctx, id, url)
	return nil
}

// OnDeltaStreamClosed implements delta.Callbacks.
func (h deltaHooks) OnDeltaStreamClosed(id int64, _ *corev3.Node) { h.closed(id) }

// OnStreamDeltaRequest implements delta.Callbacks.
func (h deltaHooks) OnStreamDeltaRequest(id int64, r *discoveryv3.DeltaDiscoveryRequest) error {
	h.clients.heard(h.talk(id), request{
		url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), node: r.GetNode(), detail: r.GetErrorDetail(),
		subscribe: r.GetResourceNamesSubscribe(), unsubscribe: r.GetResourceNamesUnsubscribe(),
	})
	return nil
}

// OnStreamDeltaResponse implements delta.Callbacks.
func (h deltaHooks) OnStreamDeltaResponse(id int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
	items := r.GetResources() // in the order of names
	names := make([]string, len(items))
	for i, x := range items {
		names[i] = x.GetName()
	}
	h.clients.saying(h.talk(id), response{
		url: r.GetTypeUrl(), nonce: r.GetNonce(), version: r.GetSystemVersionInfo(), names: names, removed: r.GetRemovedResources(),
		hold: func(i int) held { return held{version: items[i].GetVersion(), body: items[i].GetResource()} },
	})
}
