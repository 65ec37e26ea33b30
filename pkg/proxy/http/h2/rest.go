package h2

import (
	"errors"
	"os"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
)

var _ codec.Rester = (*Server)(nil)

// Rest implements codec.Rester.
func (s *Server) Rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet() && !s.resting {
		s.resting = true
		_ = s.nc.SetReadDeadline(time.Unix(1, 0)) // a broken connection shows in the read
	}
}

// quiet tells that nothing is under way that needs the reader. The caller holds mu.
func (s *Server) quiet() bool {
	return s.err == nil && s.settledOnce && s.workers.busy == 0 && !s.headOpen && !s.draining && s.late == nil
}

// readOrRest handles frames until the connection ends or rests.
func (s *Server) readOrRest() error {
	for {
		err := s.readFrames()
		if late := s.answerLate(); late != nil {
			return late
		}
		if err = s.rest(err); err != nil {
			return err
		}
	}
}

// rest says what becomes of a connection whose reader has ended with err: nil when it was to rest but cannot.
func (s *Server) rest(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.resting || s.err != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	s.resting = false
	if broken := s.nc.SetReadDeadline(time.Time{}); broken != nil {
		return broken
	}
	if !s.quiet() || s.rd.r < s.rd.w {
		return nil
	}
	s.rd.release()
	s.dec.rest()
	s.rested = true
	return codec.ErrRests
}
