package h2

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
)

// TestPanicEndsItsConnection has one handler panic while another one waits for the rest of its request.
func TestPanicEndsItsConnection(t *testing.T) {
	reading, failed := make(chan struct{}), make(chan error, 1)
	h := &handler{serve: func(s codec.ServerStream) {
		if s.Request().Path == "/panic" {
			<-reading
			panic("of the test")
		}
		close(reading)
		_, err := s.Request().Body.Read(make([]byte, 1))
		failed <- err
	}}
	told := make(chan any, 1)
	nc, srv, ended := serve(t, ServerOptions{Panicked: func(value any, stack []byte) {
		if len(stack) == 0 {
			t.Error("no stack")
		}
		told <- value
	}}, h)
	w := greet(t, nc)
	w.open(1, false, with()...)
	w.open(3, true, with(":path", "/panic")...)
	if v := <-told; v != "of the test" {
		t.Errorf("told of %v", v)
	}
	if err := <-failed; err == nil {
		t.Error("the neighbour on the connection goes on")
	}
	if err := <-ended; err == nil {
		t.Error("Serve returned no error")
	}
	if n := srv.stats.StreamsActive.Value(); n != 0 || srv.workers.busy != 0 {
		t.Errorf("%d streams active, %d being served", n, srv.workers.busy)
	}
}
