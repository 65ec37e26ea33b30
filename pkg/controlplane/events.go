package controlplane

import (
	"context"
	"maps"
	"slices"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/peer"
)

// EventKind says what a client did.
type EventKind uint8

// Event kinds.
const (
	// Connected comes with the first request of a stream, which names the node.
	Connected EventKind = iota
	// Disconnected comes at the end of a stream.
	Disconnected
	// Acknowledged tells that a client took what it was sent.
	Acknowledged
	// Rejected tells that a client did not take all of it; Event.Err says why.
	Rejected
)

// Event is something that a client did.
type Event struct {
	Kind EventKind
	// Node is the id of the client's node, Peer its network address.
	Node, Peer string
	// Delta tells a stream of the incremental protocol.
	Delta bool
	// Type is the short name of a resource type, such as Cluster. It is empty for Connected and Disconnected of an
	// aggregated stream.
	Type string
	// Version of the response that was acknowledged or rejected.
	Version string
	// Names are the resources of that response, and Removed those that it took away (delta only), in order.
	Names, Removed []string
	// Err is the client's reason for rejecting.
	Err string
}

// streamID identifies a stream: the two protocols count for themselves.
type streamID struct {
	delta bool
	id    int64
}

// stream is what is known of a client's stream.
type stream struct {
	typeURL, peer, node string
	met                 bool
	// sent are the responses that wait for an answer, by nonce.
	sent map[string]Event
}

// events turns what the library calls back into events.
type events struct {
	tell func(Event)

	mu      sync.Mutex
	streams map[streamID]*stream
}

func newEvents(tell func(Event)) *events {
	if tell == nil {
		tell = func(Event) {}
	}
	return &events{tell: tell, streams: map[streamID]*stream{}}
}

// hooks returns the events of one gRPC server. The library counts streams by server, so each has its own streams.
func (e *events) hooks() *events { return newEvents(e.locked) }

// sotwHooks are the library's callbacks for the state of the world.
type sotwHooks struct{ *events }

var _ sotw.Callbacks = sotwHooks{}

func (h sotwHooks) OnStreamOpen(ctx context.Context, id int64, typeURL string) error {
	h.open(ctx, streamID{false, id}, typeURL)
	return nil
}

func (h sotwHooks) OnStreamClosed(id int64, _ *corev3.Node) { h.closed(streamID{false, id}) }

func (h sotwHooks) OnStreamRequest(id int64, r *discoveryv3.DiscoveryRequest) error {
	h.request(streamID{false, id}, r.GetNode(), r.GetResponseNonce(), r.GetErrorDetail())
	return nil
}

func (h sotwHooks) OnStreamResponse(ctx context.Context, id int64, _ *discoveryv3.DiscoveryRequest, r *discoveryv3.DiscoveryResponse) {
	sent := Event{Type: shortType(r.GetTypeUrl()), Version: r.GetVersionInfo()}
	if a, ok := ctx.Value(answerKey{}).(*sotwAnswer); ok {
		for _, i := range a.items {
			sent.Names = append(sent.Names, i.name)
		}
	}
	h.response(streamID{false, id}, r.GetNonce(), sent)
}

// deltaHooks are the library's callbacks for the incremental protocol.
type deltaHooks struct{ *events }

var _ delta.Callbacks = deltaHooks{}

func (h deltaHooks) OnDeltaStreamOpen(ctx context.Context, id int64, typeURL string) error {
	h.open(ctx, streamID{true, id}, typeURL)
	return nil
}

func (h deltaHooks) OnDeltaStreamClosed(id int64, _ *corev3.Node) { h.closed(streamID{true, id}) }

func (h deltaHooks) OnStreamDeltaRequest(id int64, r *discoveryv3.DeltaDiscoveryRequest) error {
	h.request(streamID{true, id}, r.GetNode(), r.GetResponseNonce(), r.GetErrorDetail())
	return nil
}

func (h deltaHooks) OnStreamDeltaResponse(id int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
	sent := Event{Type: shortType(r.GetTypeUrl()), Version: r.GetSystemVersionInfo(), Removed: slices.Sorted(slices.Values(r.GetRemovedResources()))}
	for _, one := range r.GetResources() {
		sent.Names = append(sent.Names, one.GetName())
	}
	slices.Sort(sent.Names)
	h.response(streamID{true, id}, r.GetNonce(), sent)
}

// locked passes an event on, one at a time over all servers.
func (e *events) locked(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tell(event)
}

func (e *events) open(ctx context.Context, id streamID, typeURL string) {
	s := &stream{typeURL: typeURL, sent: map[string]Event{}}
	if p, ok := peer.FromContext(ctx); ok {
		s.peer = p.Addr.String()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.streams[id] = s
}

func (e *events) closed(id streamID) {
	e.mu.Lock()
	s := e.streams[id]
	delete(e.streams, id)
	e.mu.Unlock()
	if s != nil && s.met {
		e.tell(Event{Kind: Disconnected, Node: s.node, Peer: s.peer, Delta: id.delta, Type: shortType(s.typeURL)})
	}
}

// response remembers what a client is about to be sent.
func (e *events) response(id streamID, nonce string, sent Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.streams[id]; s != nil {
		// An answer to a later response of a type stands for the earlier ones too.
		maps.DeleteFunc(s.sent, func(_ string, old Event) bool { return !id.delta && old.Type == sent.Type })
		s.sent[nonce] = sent
	}
}

func (e *events) request(id streamID, node *corev3.Node, nonce string, detail *statuspb.Status) {
	for _, event := range e.judge(id, node, nonce, detail) {
		e.tell(event)
	}
}

// judge tells what a request means.
func (e *events) judge(id streamID, node *corev3.Node, nonce string, detail *statuspb.Status) (out []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.streams[id]
	if s == nil {
		return nil
	}
	if !s.met {
		s.met, s.node = true, node.GetId()
		out = append(out, Event{Kind: Connected, Node: s.node, Peer: s.peer, Delta: id.delta, Type: shortType(s.typeURL)})
	}
	event, ok := s.sent[nonce]
	if !ok {
		return out
	}
	delete(s.sent, nonce)
	event.Kind, event.Node, event.Peer, event.Delta = Acknowledged, s.node, s.peer, id.delta
	if detail != nil {
		event.Kind, event.Err = Rejected, detail.GetMessage()
	}
	return append(out, event)
}
