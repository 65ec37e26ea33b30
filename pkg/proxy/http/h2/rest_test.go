package h2

import (
	"errors"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/test/await"
)

// resting is a server that is served again whenever it has something to do after a rest.
type resting struct {
	srv   *Server
	c     *conn.Conn
	h     *handler
	rests chan bool
	ended chan error
}

func (r *resting) serve(t *testing.T) {
	err := r.srv.Serve(t.Context(), r.h)
	if err == codec.ErrRests {
		r.rests <- true
		r.c.WhenReadable(func() { r.serve(t) })
		return
	}
	r.ended <- err
}

// rest asks the server to rest until it does.
func (r *resting) rest(t *testing.T) {
	t.Helper()
	await.True(t, "the connection rests", func() bool {
		r.srv.Rest()
		select {
		case <-r.rests:
			return true
		case <-time.After(time.Millisecond):
			return false
		}
	})
}

func newResting(t *testing.T) (*resting, *wire) {
	t.Helper()
	a, b := conntest.Sockets(t)
	c := conntest.Adopt(t, b)
	r := &resting{c: c, h: &handler{serve: echo}, rests: make(chan bool, 1), ended: make(chan error, 1)}
	r.srv = NewServer(c, ServerOptions{})
	go r.serve(t)
	t.Cleanup(func() { a.Close() })
	return r, greet(t, a)
}

func TestRest(t *testing.T) {
	r, w := newResting(t)
	for id := uint32(1); id < 8; id += 2 {
		w.open(id, true, get...)
		if got := w.verdict(); got != "status 200" {
			t.Fatalf("%s", got)
		}
		r.rest(t)
	}
	r.srv.Drain() // while it rests
	if got := goAways(w, true); len(got) != 2 || got[1] != 7 {
		t.Errorf("GOAWAY frames %v", got)
	}
	w.c.Close()
	if err := <-r.ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestAbortOfAConnectionThatRests(t *testing.T) {
	r, w := newResting(t)
	w.open(1, true, get...)
	w.verdict()
	r.rest(t)
	cause := errors.New("enough")
	r.srv.Abort(cause)
	if err := <-r.ended; !errors.Is(err, cause) {
		t.Errorf("Serve: %v", err)
	}
}

func TestBusyConnectionDoesNotRest(t *testing.T) {
	a, b := conntest.Sockets(t)
	defer a.Close()
	c := conntest.Adopt(t, b)
	entered, goOn := make(chan bool), make(chan bool)
	r := &resting{c: c, rests: make(chan bool, 1), ended: make(chan error, 1)}
	r.h = &handler{serve: func(s codec.ServerStream) {
		close(entered)
		<-goOn
		echo(s)
	}}
	r.srv = NewServer(c, ServerOptions{})
	go r.serve(t)
	w := greet(t, a)
	w.open(1, true, get...)
	<-entered
	r.srv.Rest()
	close(goOn)
	if got := w.verdict(); got != "status 200" || len(r.rests) != 0 {
		t.Errorf("%s, rested %d times", got, len(r.rests))
	}
	a.Close()
	<-r.ended
}
