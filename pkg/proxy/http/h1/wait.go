package h1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
)

// drainGrace is how long a later request may come that crosses with a drain.
const drainGrace = 5 * time.Millisecond

// waitState is what the serving goroutine does while no request is under way.
type waitState uint8

const (
	waitBusy waitState = iota
	waitIdle
	waitWoken // by Drain
	waitRest  // woken by Rest
	waitGone  // without a goroutine
	waitHead  // for the rest of a request head
)

// await parks until the first bytes of a request are buffered; came is false when the connection ended in order.
func (s *Server) await() (came bool, err error) {
	s.mu.Lock()
	if s.rd.buffered() > 0 {
		s.waiting = waitHead
		s.mu.Unlock()
		return true, nil
	}
	s.waiting = waitIdle
	woken := s.draining.Load()
	if woken {
		s.waiting = waitWoken
	}
	s.mu.Unlock()
	if !woken {
		err = s.park()
	}
	s.mu.Lock()
	if s.waiting == waitRest && s.rest(err) {
		s.mu.Unlock()
		return false, codec.ErrRests
	}
	woken = s.waiting == waitWoken
	s.waiting = waitHead
	s.mu.Unlock()
	if woken && s.rd.buffered() == 0 {
		came = s.lastCall()
		s.ours = !came
		return came, nil
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, io.EOF):
		return false, nil
	}
	return false, fmt.Errorf("wait for a request: %w", err)
}

// park waits for bytes without holding a buffer, as far as the connection can, and then reads them.
func (s *Server) park() error {
	if l, ok := s.conn.(lentReader); ok {
		return s.rd.fillLent(l)
	}
	if _, ok := s.conn.(wrapper); ok {
		// TLS hands out the first byte of a record and keeps the rest for the read that follows at once.
		s.rd.release()
		if n, err := s.conn.Read(s.first[:]); n == 0 {
			return err
		}
		s.rd.makeRoom()
		s.rd.buf[0] = s.first[0]
		s.rd.w = 1
		return nil
	}
	return s.rd.fill()
}

// headDone ends the time in which Expire has an effect, and returns its error if it had one.
func (s *Server) headDone() *codec.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	late := s.late
	s.late, s.waiting = nil, waitBusy
	if late != nil {
		_ = s.conn.SetReadDeadline(time.Time{}) // a broken connection shows in the read
	}
	return late
}

// Expire gives up on a request head that is being received: the handler is asked to answer late. It has no effect when no
// head is being received. It may be called from any goroutine.
func (s *Server) Expire(late *codec.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != waitHead || s.late != nil {
		return
	}
	s.late = late
	_ = s.conn.SetReadDeadline(longAgo()) // a broken connection shows in the read
}

// Rest implements codec.Rester.
func (s *Server) Rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == waitIdle {
		s.waiting = waitRest
		_ = s.conn.SetReadDeadline(longAgo()) // a broken connection shows in the read
	}
}

// rest tells whether the connection is to rest, now that the wait has ended with err. The caller holds mu.
func (s *Server) rest(err error) bool {
	if s.conn.SetReadDeadline(time.Time{}) != nil || !errors.Is(err, os.ErrDeadlineExceeded) ||
		s.aborted.Load() != nil || s.rd.buffered() > 0 {
		return false
	}
	s.waiting, s.rested = waitGone, true
	return true
}

// Drain implements codec.Server.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Swap(true) {
		return
	}
	switch s.waiting {
	case waitIdle, waitRest, waitGone:
		s.waiting = waitWoken
		_ = s.conn.SetReadDeadline(longAgo()) // a broken connection shows in the read
	}
}

// lastCall takes a request that crossed with the drain, and tells whether there was one.
func (s *Server) lastCall() bool {
	grace := drainGrace
	if s.served == 0 {
		grace = codec.FirstRequestGrace
	}
	s.mu.Lock()
	_ = s.conn.SetReadDeadline(time.Now().Add(grace)) // a broken connection shows in the read
	s.mu.Unlock()
	if s.rd.fill() != nil {
		return false
	}
	return s.conn.SetReadDeadline(time.Time{}) == nil
}
