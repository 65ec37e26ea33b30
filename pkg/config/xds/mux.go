package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Options configure a Mux.
type Options struct {
	// Servers in order of preference, at least one. A stream that ended before the control plane answered makes the next
	// server's turn; one that worked is made anew from the first server on.
	Servers []Server
	// Type restricts the Mux to one resource type on that type's own service; empty uses the aggregated service.
	Type string
	// Delta speaks the incremental protocol.
	Delta bool
	// NodeOnce sends the node in the first request of a stream only (set_node_on_first_message_only).
	NodeOnce bool
	Node     NodeFunc
	Handler  Handler
	Log      *slog.Logger
	// Limit bounds the rate of requests; nil does not.
	Limit *Limit
}

// Server is one control plane.
type Server struct {
	// Name is for the log.
	Name string
	// Dial returns the channel, which the Mux does not close. It is called for each stream.
	Dial func() (grpc.ClientConnInterface, error)
	// Metadata goes with each stream.
	Metadata metadata.MD
	// MaxMessage bounds a response in bytes; 0 is unlimited, as in Envoy.
	MaxMessage int
	// Backoff after a stream to this server; the zero value is DefaultBackoff.
	Backoff Backoff
}

// Mux is one stream to a control plane, with the subscriptions of all types that it carries.
type Mux struct {
	opt Options

	// applying is held while the handler is told of anything, so that it is told one thing at a time.
	applying sync.Mutex
	reaper   reaper

	mu    sync.Mutex
	types map[string]*subscription
	busy  bool          // a response is being applied: its ACK goes out before what it makes us ask for
	kick  chan struct{} // one slot: something is to be sent
	// from is the server that the versions are of; nil before any has answered.
	from *Server
}

// subscription is the state of one type. Guarded by Mux.mu.
type subscription struct {
	wildcard bool
	names    map[string]bool
	// requested tells that the control plane was asked on this stream, so that a later empty set is worth telling.
	requested bool
	dirty     bool // the set changed since the last request
	// acks are what is still to be said of responses, ready how much of it now. Of the state of the world that is the last
	// one's at most.
	acks  []ack
	ready int
	nonce string
	// rejected is the version that was rejected last and rejections how often in a row; hold is until when its NACK waits.
	// haste counts the rejections in a row, whatever their versions, each of which followed upon a NACK that left at due.
	rejected          string
	rejections, haste int
	hold, due         time.Time
	// version is the last accepted version of a state-of-the-world response; it outlives the stream.
	version string
	// sent are the names that are subscribed on this stream, as far as the control plane was told; all tells of the
	// wildcard. versions are those of the delta resources that were received, by name.
	sent     map[string]bool
	all      bool
	versions map[string]string
	// aliases are the names of resources that came under another one that is subscribed, by that other one.
	aliases map[string]string
	// expiries are when resources with a TTL are to go, by name.
	expiries map[string]time.Time
	// expired are the names of resources that went so and have not come again, missed those of them that the control plane
	// takes for here, as a heart-beat told since.
	expired, missed map[string]bool
	// changed are the names that came or went since the control plane was told: what there is to tell costs as much as
	// changed, not as much as there are names.
	changed map[string]bool
	// again are names of sent whose resource was dropped and is wanted once more: the control plane must send it again.
	again map[string]bool
}

type ack struct {
	nonce string
	err   error
}

// NewMux returns a Mux that does nothing until Run.
func NewMux(opt Options) *Mux {
	return &Mux{opt: opt, types: map[string]*subscription{}, kick: make(chan struct{}, 1), reaper: newReaper()}
}

// SubscribeAll asks for all resources of a type (wildcard).
func (m *Mux) SubscribeAll(typeURL string) {
	m.change(typeURL, func(s *subscription) bool {
		changed := !s.wildcard
		s.wildcard = true
		return changed
	})
}

// Subscribe asks for a resource by name.
func (m *Mux) Subscribe(typeURL, name string) {
	m.change(typeURL, func(s *subscription) bool {
		if s.names[name] {
			return false
		}
		s.names[name], s.changed[name] = true, true
		if s.sent[name] {
			s.again[name] = true
		}
		return true
	})
}

// Unsubscribe tells that a resource is not wanted any more.
func (m *Mux) Unsubscribe(typeURL, name string) {
	m.change(typeURL, func(s *subscription) bool {
		if !s.names[name] {
			return false
		}
		delete(s.names, name)
		delete(s.again, name)
		delete(s.expired, name)
		delete(s.missed, name)
		s.changed[name] = true
		if !s.wildcard {
			s.forget(name)
			s.forget(s.aliases[name])
		}
		delete(s.aliases, name)
		return true
	})
}

func (m *Mux) change(typeURL string, apply func(*subscription) bool) {
	m.mu.Lock()
	s := m.types[typeURL]
	if s == nil {
		s = &subscription{
			names: map[string]bool{}, versions: map[string]string{}, sent: map[string]bool{}, changed: map[string]bool{},
			again: map[string]bool{}, aliases: map[string]string{}, expiries: map[string]time.Time{}, expired: map[string]bool{}, missed: map[string]bool{},
		}
		m.types[typeURL] = s
	}
	changed := apply(s)
	s.dirty = s.dirty || changed
	m.mu.Unlock()
	if changed {
		m.wake()
	}
}

func (m *Mux) wake() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// Run keeps a stream up until ctx ends.
func (m *Mux) Run(ctx context.Context) {
	var reaping sync.WaitGroup
	reaping.Go(func() { m.reap(ctx) })
	defer reaping.Wait()
	turn := 0
	for attempt := 0; ; attempt++ {
		server := &m.opt.Servers[turn%len(m.opt.Servers)]
		worked, err := m.stream(ctx, server)
		if ctx.Err() != nil {
			return
		}
		turn++
		if worked {
			attempt, turn = 0, 0
		}
		m.failed(err)
		wait := server.Backoff.orDefault().interval(attempt, rand.Float64())
		m.opt.Log.Warn("xDS stream ended", "server", server.Name, "error", err, "retry_in", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (m *Mux) failed(err error) {
	m.opt.Handler.Connected(false, "")
	m.mu.Lock()
	var asked []Asked
	for _, t := range m.typesInOrder() {
		s := m.types[t]
		asked = append(asked, Asked{Type: t, All: s.wildcard, Names: slices.Collect(maps.Keys(s.names))})
	}
	m.mu.Unlock()
	for _, a := range asked {
		m.opt.Handler.Failure(a, err)
	}
}

// stream runs one stream to its end and tells whether the control plane ever answered on it.
func (m *Mux) stream(ctx context.Context, server *Server) (worked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := m.open(ctx, server)
	if err != nil {
		return false, err
	}
	m.reset(server)
	m.opt.Handler.Connected(true, "")
	m.wake()

	sent := make(chan error, 1)
	go func() {
		err := m.send(ctx, s)
		cancel() // ends the receiver too
		sent <- err
	}()
	worked, err = m.receive(ctx, s, server)
	cancel()
	if sendErr := <-sent; sendErr != nil && status.Code(err) == codes.Canceled { // the sender's end came first
		err = sendErr
	}
	return worked, err
}

func (m *Mux) open(ctx context.Context, server *Server) (grpc.ClientStream, error) {
	conn, err := server.Dial()
	if err != nil {
		return nil, fmt.Errorf("reach control plane %s: %w", server.Name, err)
	}
	if len(server.Metadata) > 0 {
		ctx = metadata.NewOutgoingContext(ctx, server.Metadata)
	}
	limit := server.MaxMessage
	if limit == 0 {
		limit = math.MaxInt32
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, m.method(), grpc.MaxCallRecvMsgSize(limit))
	if err != nil {
		return nil, fmt.Errorf("open xDS stream: %w", err)
	}
	return s, nil
}

func (m *Mux) method() string {
	s := aggregated
	if m.opt.Type != "" {
		s, _ = serviceOf(m.opt.Type) // who makes the Mux has checked that there is one
	}
	return s.method(m.opt.Delta)
}

// reset forgets what belonged to the last stream. Versions mean something only to the server that gave them: another one
// is told what there is, but not in which version, so that it sends everything and tells what is gone.
func (m *Mux) reset(server *Server) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stranger := m.from != nil && m.from != server
	for _, s := range m.types {
		if stranger {
			s.version = ""
			for name := range s.versions {
				s.versions[name] = ""
			}
		}
		s.requested, s.dirty, s.acks, s.nonce = false, true, nil, ""
		s.sent, s.all = map[string]bool{}, false
		s.changed = maps.Clone(s.names)
		clear(s.again)
		clear(s.missed) // a new stream asks for all that is not here
	}
	m.busy = false
}

func (m *Mux) receive(ctx context.Context, s grpc.ClientStream, server *Server) (worked bool, err error) {
	for {
		u, nonce, identifier, err := m.next(s)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the control plane closed the stream")
			}
			return worked, err
		}
		if !worked || identifier != "" {
			m.opt.Handler.Connected(true, identifier)
		}
		worked = true
		m.apply(ctx, u, nonce, server)
	}
}

// apply hands a response on, and has its outcome told.
func (m *Mux) apply(ctx context.Context, u Update, nonce string, server *Server) {
	m.applying.Lock()
	defer m.applying.Unlock()
	if !m.begin(u.Type, server) {
		m.opt.Log.Warn("ignored xDS response for a type that was not asked for", "type", u.Type)
		return
	}
	err := m.opt.Handler.Update(ctx, u)
	m.settle(u, nonce, err)
}

// next receives one response of either protocol.
func (m *Mux) next(s grpc.ClientStream) (u Update, nonce, identifier string, err error) {
	if m.opt.Delta {
		var r discoveryv3.DeltaDiscoveryResponse
		if err := s.RecvMsg(&r); err != nil {
			return u, "", "", err
		}
		return deltaUpdate(&r), r.Nonce, r.GetControlPlane().GetIdentifier(), nil
	}
	var r discoveryv3.DiscoveryResponse
	if err := s.RecvMsg(&r); err != nil {
		return u, "", "", err
	}
	return sotwUpdate(&r), r.Nonce, r.GetControlPlane().GetIdentifier(), nil
}

// send writes requests until ctx ends or the stream breaks.
func (m *Mux) send(ctx context.Context, s grpc.ClientStream) error {
	out := sender{stream: s}
	later := time.NewTimer(0)
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-later.C:
		case <-m.kick:
		}
		if wait := m.patience(out.last); wait > 0 {
			later.Reset(wait)
			continue
		}
		due := m.due()
		for i, r := range due {
			if !m.opt.Limit.wait(ctx, len(due)-i) {
				return nil
			}
			if !out.begun || !m.opt.NodeOnce {
				out.present(r, m.opt.Node())
			}
			err := out.send(r)
			if errors.Is(err, io.EOF) {
				<-ctx.Done() // the receiver learns the real reason, and ends the stream with it
				return nil
			}
			if err != nil {
				return fmt.Errorf("send xDS request: %w", err)
			}
		}
	}
}

// due are the requests to send now, in order.
func (m *Mux) due() []request {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy {
		return nil
	}
	var out []request
	for _, t := range m.typesInOrder() {
		out = append(out, m.requests(t, m.types[t])...)
	}
	return out
}
