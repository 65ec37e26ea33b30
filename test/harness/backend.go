package harness

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Request is what an HTTP backend got.
type Request struct {
	*http.Request
	Body string
}

// HTTPBackend is an HTTP/1.1 (and over TLS HTTP/2) server. It answers 200 with its name in the header x-backend and as the
// body, except where a handler was given.
type HTTPBackend struct {
	Name string
	Addr netip.AddrPort

	mu       sync.Mutex
	requests []Request
	conns    atomic.Int64
	opened   atomic.Int64
}

// HTTPOption changes an HTTP backend.
type HTTPOption func(*httpOptions)

type httpOptions struct {
	tls      *tls.Config
	clear2   bool
	handlers map[string]http.HandlerFunc
}

// WithTLS makes the backend speak TLS, with HTTP/2 when NextProtos asks for it.
func WithTLS(c *tls.Config) HTTPOption { return func(o *httpOptions) { o.tls = c } }

// WithHTTP2 makes the backend speak HTTP/2 in the clear too, to those who know.
func WithHTTP2() HTTPOption { return func(o *httpOptions) { o.clear2 = true } }

// WithHandler answers a path in another way.
func WithHandler(path string, f http.HandlerFunc) HTTPOption {
	return func(o *httpOptions) { o.handlers[path] = f }
}

// HTTPBackend starts an HTTP server on the host. addr may have port 0.
func (h *Host) HTTPBackend(name, addr string, options ...HTTPOption) *HTTPBackend {
	h.t.Helper()
	o := httpOptions{handlers: make(map[string]http.HandlerFunc)}
	for _, f := range options {
		f(&o)
	}
	l := h.Listen(addr)
	b := &HTTPBackend{Name: name, Addr: addrPort(l.Addr())}
	server := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.serve(w, r, o.handlers[r.URL.Path]) }),
		TLSConfig: o.tls, ConnState: b.count, ReadHeaderTimeout: Patience, ErrorLog: quiet(),
	}
	if o.clear2 {
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if o.tls != nil {
			_ = server.ServeTLS(l, "", "") // ends with ErrServerClosed
		} else {
			_ = server.Serve(l)
		}
	}()
	h.t.Cleanup(func() {
		_ = server.Close() // cuts off what a failed test left behind
		<-done
	})
	return b
}

func (b *HTTPBackend) count(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		b.opened.Add(1)
		b.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		b.conns.Add(-1)
	}
}

func (b *HTTPBackend) serve(w http.ResponseWriter, r *http.Request, handler http.HandlerFunc) {
	w.Header().Set("X-Backend", b.Name)
	if handler != nil {
		b.record(Request{Request: r})
		handler(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.record(Request{r, string(body)})
	fmt.Fprintln(w, b.Name)
}

func (b *HTTPBackend) record(r Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests = append(b.requests, r)
}

// Count is the number of requests so far.
func (b *HTTPBackend) Count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.requests)
}

// Opened is the number of connections accepted so far, Conns of those open now.
func (b *HTTPBackend) Opened() int { return int(b.opened.Load()) }

// Conns is the number of connections that are open.
func (b *HTTPBackend) Conns() int { return int(b.conns.Load()) }

// Last is the latest request; the test fails when there is none.
func (b *HTTPBackend) Last(t testing.TB) Request {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) == 0 {
		t.Fatalf("backend %s got no request", b.Name)
	}
	return b.requests[len(b.requests)-1]
}

// TCPBackend is a TCP server.
type TCPBackend struct {
	Addr     netip.AddrPort
	accepted atomic.Int64
	listener net.Listener
}

// Close refuses connections from now on; those that there are go on. It is called at the end of the test in any case.
func (b *TCPBackend) Close() { b.listener.Close() }

// Accepted is the number of connections so far.
func (b *TCPBackend) Accepted() int { return int(b.accepted.Load()) }

// TCPBackend serves each connection on the host with a function, which may take its time: connections are closed when the test
// ends, after the function has returned.
func (h *Host) TCPBackend(addr string, serve func(*net.TCPConn)) *TCPBackend {
	h.t.Helper()
	l := h.Listen(addr)
	b := &TCPBackend{Addr: addrPort(l.Addr()), listener: l}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.accepted.Add(1)
			open.Go(func() { handle(conn, serve) })
		}
	})
	h.t.Cleanup(func() {
		b.Close()
		open.Wait()
	})
	return b
}

func handle(conn net.Conn, serve func(*net.TCPConn)) {
	defer conn.Close()
	// A function that waits for a peer that never speaks ends all the same.
	if err := conn.SetDeadline(time.Now().Add(2 * Patience)); err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		serve(tcp)
	}
}

// Echo sends back what it gets, and its end.
func Echo(c *net.TCPConn) {
	if _, err := io.Copy(c, c); err == nil {
		_ = c.CloseWrite() // the peer may be gone
	}
}

// EchoAtEnd sends back what it gets once the peer has ended its direction, which only half-close can tell.
func EchoAtEnd(c *net.TCPConn) {
	all, err := io.ReadAll(c)
	if err == nil {
		_, _ = fmt.Fprintf(c, "you said %q", all) // the peer sees what is missing
	}
}

// Greets speaks first and then echoes.
func Greets(text string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		if _, err := io.WriteString(c, text); err == nil {
			Echo(c)
		}
	}
}

// RefusingAddr is an address of the host on which nobody listens.
func (h *Host) RefusingAddr(ip string) netip.AddrPort {
	h.t.Helper()
	l := h.Listen(net.JoinHostPort(ip, "0"))
	defer l.Close()
	return addrPort(l.Addr())
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Requests are those that the backend got so far.
func (b *HTTPBackend) Requests() []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Request(nil), b.requests...)
}
