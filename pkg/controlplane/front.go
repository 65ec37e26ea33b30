package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"
)

// greeting is how long a new connection may take to say what it speaks, TLS included.
const greeting = 10 * time.Second

// front accepts connections and hands them to the server of the protocol that they speak: HTTP/2 is gRPC, anything else
// is HTTP/1, on the same port.
type front struct {
	listener net.Listener
	tls      *tls.Config
	grpc     *lane
	http     *lane
	count    atomic.Uint64 // of connections without an address
}

// lane is the listener of one protocol.
type lane struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newLane(addr net.Addr) *lane {
	return &lane{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *lane) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *lane) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *lane) Addr() net.Addr { return l.addr }

func newFront(l net.Listener, config *tls.Config) *front {
	return &front{listener: l, tls: withProtocols(config), grpc: newLane(l.Addr()), http: newLane(l.Addr())}
}

// withProtocols offers both protocols in TLS.
func withProtocols(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	if choose := config.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := choose(h)
			return withProtocols(c), err
		}
	}
	return config
}

// run accepts until the listener is closed, or ctx ends, and returns when no connection is on its way any more.
func (f *front) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var greetings sync.WaitGroup
	defer greetings.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = f.listener.Close() })
	defer stop()
	for {
		c, err := f.listener.Accept()
		switch {
		case err == nil:
			greetings.Go(func() { f.greet(ctx, c) })
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case isTemporary(err):
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		default:
			return fmt.Errorf("accept at %s: %w", f.listener.Addr(), err)
		}
	}
}

// isTemporary tells errors that pass, such as too many open files.
func isTemporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

// greet finds out what a connection speaks.
func (f *front) greet(ctx context.Context, c net.Conn) {
	addr := peerAddr{Addr: c.RemoteAddr(), text: c.RemoteAddr().String()}
	if strings.Trim(addr.text, "@") == "" {
		addr.text = fmt.Sprintf("unix#%d", f.count.Add(1))
	}
	_ = c.SetDeadline(time.Now().Add(greeting)) // the read fails as well
	done := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	if f.tls != nil {
		t := tls.Server(c, f.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			done()
			_ = c.Close() // the handshake says more
			return
		}
		addr.identity = identityOf(t.ConnectionState().PeerCertificates)
		c = t
	}
	first := make([]byte, 3)
	n, err := io.ReadFull(c, first)
	if !done() || err != nil && n == 0 {
		_ = c.Close() // it said nothing
		return
	}
	_ = c.SetDeadline(time.Time{}) // the servers have their own
	to := f.http
	if string(first) == "PRI" {
		to = f.grpc
	}
	select {
	case to.conns <- &greeted{Conn: c, first: first[:n], addr: addr}:
	case <-to.closed:
		_ = c.Close() // nobody is there any more
	case <-ctx.Done():
		_ = c.Close()
	}
}

// greeted is a connection whose first bytes were read.
type greeted struct {
	net.Conn
	first []byte
	addr  peerAddr
}

// Read implements net.Conn.
func (g *greeted) Read(p []byte) (int, error) {
	if len(g.first) > 0 {
		n := copy(p, g.first)
		g.first = g.first[n:]
		return n, nil
	}
	return g.Conn.Read(p)
}

// RemoteAddr implements net.Conn.
func (g *greeted) RemoteAddr() net.Addr { return g.addr }

// peerAddr is the address of a client with what its certificate says.
type peerAddr struct {
	net.Addr
	text, identity string
}

// String implements net.Addr.
func (a peerAddr) String() string { return a.text }

// identityOf is the first URI or DNS name of a client's certificate, else its subject.
func identityOf(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	leaf := chain[0]
	switch {
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String()
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	}
	return leaf.Subject.String()
}

// connKey finds the address in the context of a request over HTTP/1.
type connKey struct{}

// withPeer gives a request over HTTP/1 the address that one over gRPC has.
func withPeer(r *http.Request) context.Context {
	if a, ok := r.Context().Value(connKey{}).(net.Addr); ok {
		return peer.NewContext(r.Context(), &peer.Peer{Addr: a})
	}
	return r.Context()
}
