package h2

import (
	"encoding/binary"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Ended tells, when Serve has returned, whether a request was under way then, and whether the end was our choice: a drain.
func (s *Server) Ended() (busy, ours bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut, s.draining
}

// Drain implements codec.Server: it tells the client that there will be an end, waits for what crosses with that, and
// then closes the connection when its streams have ended (RFC 9113 section 6.8).
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drain()
}

// drain is Drain for callers that hold mu.
func (s *Server) drain() {
	if s.draining {
		return
	}
	s.draining = true
	if s.serving {
		s.notice()
	}
}

// notice sends the first GOAWAY frame, which takes no stream away. The caller holds mu.
func (s *Server) notice() {
	if s.err != nil {
		return
	}
	s.begin()
	s.out = appendGoAway(s.out, maxStreamID, codeNo)
	var mark [pingLen]byte
	binary.BigEndian.PutUint64(mark[:], drainMark)
	s.out = appendPing(s.out, false, mark)
	s.outFrames += 2
	s.stats.GoAwaySent.Inc()
	s.flushSoon()
	s.drainTimer = time.AfterFunc(s.opt.DrainTimeout, func() {
		s.mu.Lock()
		s.closeDoor()
		s.mu.Unlock()
	})
}

// closeDoor sends the final GOAWAY frame. The caller holds mu.
func (s *Server) closeDoor() {
	if s.final || s.err != nil {
		return
	}
	s.final = true
	s.begin()
	s.taken = s.lastID
	s.out = appendGoAway(s.out, s.lastID, codeNo)
	s.outFrames++
	s.stats.GoAwaySent.Inc()
	s.flushSoon()
	s.endIfDrained()
}

// endIfDrained wakes the reader up to end the connection after the last stream. The caller holds mu.
func (s *Server) endIfDrained() {
	if !s.final || s.workers.busy > 0 || s.opening || s.err != nil {
		return
	}
	s.fail(errDrained)
	_ = s.nc.SetReadDeadline(time.Unix(1, 0)) // a broken connection does not block
}

// notOpened is called when a stream that was taken could not be opened. Only the reader calls it, without mu.
func (s *Server) notOpened() {
	s.mu.Lock()
	s.opening = false
	s.endIfDrained()
	s.mu.Unlock()
}

// lastTaken implements side: the last stream that a GOAWAY frame names, which never grows (RFC 9113 section 6.8).
func (s *Server) lastTaken() uint32 {
	if s.final {
		return s.taken
	}
	return s.lastID
}

// Abort implements codec.Server.
func (s *Server) Abort(err error) {
	if err == nil {
		err = errClosed
	}
	s.sever(err)
}

// goneAway implements side: the client will end the connection.
func (s *Server) goneAway(uint32, errCode) {}

// settled implements side.
func (s *Server) settled() {}

// pinged implements side.
func (s *Server) pinged(data [pingLen]byte) {
	if s.draining && binary.BigEndian.Uint64(data[:]) == drainMark {
		s.closeDoor()
	}
}

// afterReset implements side: a handler that wants to know is told that a stream may be of no use any more.
func (s *Server) afterReset() {
	if h, ok := s.handler.(interface{ StreamGone() }); ok {
		h.StreamGone()
	}
}

// wasReset implements side. It gives clients up that reset most of what they ask for before it is answered; the rule is
// Envoy's (overload.premature_reset_total_stream_count).
func (s *Server) wasReset(st *stream) error {
	if st.sendEnd || time.Since(st.begun) >= prematureAge {
		return nil
	}
	s.premature++
	if s.over < prematureTotal {
		if s.premature < prematureTotal/2 {
			return nil
		}
	} else if s.premature*2 < s.over {
		return nil
	}
	return &connError{codeEnhanceCalm, ErrPrematureResets}
}

// heading implements side.
func (s *Server) heading(open bool) {
	s.mu.Lock()
	if open && !s.headOpen {
		s.headSince = time.Now()
	}
	s.headOpen = open
	if !open && s.late != nil { // the end of the head came just in time
		s.late = nil
		_ = s.nc.SetReadDeadline(time.Time{}) // a broken connection shows in the read
	}
	s.mu.Unlock()
	s.noteIdle()
}

// HeadSince tells since when a request head is being received in several frames; ok is false when none is. It may be called
// from any goroutine.
func (s *Server) HeadSince() (since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.headSince, s.headOpen && s.late == nil
}

// Expire gives up on a request head that is being received in several frames: the handler is asked to answer late, and the
// connection ends, since the field table is of no use after half a block. It has no effect when no head is being received.
// It may be called from any goroutine.
func (s *Server) Expire(late *codec.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.headOpen || s.late != nil || s.err != nil {
		return
	}
	s.late = late
	_ = s.nc.SetReadDeadline(time.Unix(1, 0)) // a broken connection does not block
}

// answerLate has the handler answer a request whose head has not come to its end in time. Only the reader calls it, after
// its last frame.
func (s *Server) answerLate() error {
	s.mu.Lock()
	late, id := s.late, s.block.id
	if late == nil || id == 0 || s.err != nil || s.streams[id] != nil {
		s.mu.Unlock()
		return nil
	}
	st := s.shared.servers.Get().(*serverStream)
	st.reset(s)
	st.bad, st.req.Version, st.recvEnd = late, message.HTTP2, true
	s.lastID = max(s.lastID, id)
	st.enter(id)
	s.workers.busy++
	s.headOpen = false
	s.mu.Unlock()
	s.serve(&st.stream)
	return &connError{codeEnhanceCalm, late}
}
