package xds

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Control planes that send a change at a time may send a thousand a second. Each has to be acknowledged, but not with a packet of
// its own, whose way through the kernel costs both sides more than what is in it. So what only acknowledges follows the request
// before it after ackGap at the soonest. Whatever asks for something or rejects something never waits, nor do many at once.
const (
	ackGap  = 5 * time.Millisecond
	maxAcks = 64
)

// sender is the sending side of a stream. It is of one goroutine.
type sender struct {
	stream grpc.ClientStream
	begun  bool
	last   time.Time // when a request was sent
	// field is node as part of a serialised request. It lists all extensions, which takes longer than the rest of a request.
	node  *corev3.Node
	field []byte
}

// present has a request name the node, which must not change once it was given.
func (s *sender) present(r request, node *corev3.Node) {
	if node == nil {
		return
	}
	m := r.message().ProtoReflect()
	if s.node != node || s.field == nil {
		body, err := proto.Marshal(node)
		if err != nil {
			r.setNode(node) // whose error then is that of the request
			return
		}
		number := m.Descriptor().Fields().ByName("node").Number()
		s.node, s.field = node, protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
	}
	// Fields of a message may come in any order, so those that are serialised already are as good as others.
	m.SetUnknown(s.field)
}

// send sends a request.
func (s *sender) send(r request) error {
	s.begun, s.last = true, time.Now()
	return s.stream.SendMsg(r.message())
}

// patience is how long what is to be said can wait, given when something last was.
func (m *Mux) patience(last time.Time) time.Duration {
	if !m.opt.Delta {
		return 0 // where the last response answers for those before it
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	acks := 0
	for _, s := range m.types {
		for _, a := range s.acks {
			if a.err != nil {
				return 0
			}
		}
		if acks += len(s.acks); s.dirty || acks > maxAcks {
			return 0
		}
	}
	if acks == 0 {
		return 0
	}
	return ackGap - time.Since(last)
}
