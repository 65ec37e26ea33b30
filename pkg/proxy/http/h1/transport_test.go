package h1

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"h"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// overEachTransport runs test over the proxy's own sockets, plain and under TLS. serve gets the server's side.
func overEachTransport(t *testing.T, test func(t *testing.T, dial func(serve func(net.Conn)) net.Conn)) {
	wrap := func(t *testing.T, c net.Conn) net.Conn {
		return conntest.Adopt(t, c)
	}
	t.Run("plain", func(t *testing.T) {
		test(t, func(serve func(net.Conn)) net.Conn {
			return wrap(t, dial(t, listenFunc(t, func(c net.Conn) { serve(wrap(t, c)) })))
		})
	})
	t.Run("tls", func(t *testing.T) {
		config := serverTLS(t)
		test(t, func(serve func(net.Conn)) net.Conn {
			addr := listenFunc(t, func(c net.Conn) {
				tc := tls.Server(wrap(t, c), config)
				defer tc.Close()
				serve(tc)
			})
			return tls.Client(wrap(t, dial(t, addr)), &tls.Config{InsecureSkipVerify: true, ServerName: "h"})
		})
	})
}

func TestKeepAliveOverEachTransport(t *testing.T) {
	overEachTransport(t, func(t *testing.T, dial func(func(net.Conn)) net.Conn) {
		c := dial(func(c net.Conn) { _ = NewServer(c, options()).Serve(t.Context(), &handler{serve: echo}) })
		cc := NewClientConn(c, ClientOptions{})
		defer cc.Close()
		for _, size := range []int{1, 10, 20_000, 300_000} {
			body := strings.Repeat("x", size)
			if _, got, err := exchange(t, cc, newRequest("POST", "/", body)); err != nil || got != body {
				t.Fatalf("size %d: %d bytes, %v", size, len(got), err)
			}
			if !cc.Usable() {
				t.Fatalf("not usable after size %d", size)
			}
		}
	})
}

func TestDrainOverEachTransport(t *testing.T) {
	overEachTransport(t, func(t *testing.T, dial func(func(net.Conn)) net.Conn) {
		servers, ended := make(chan *Server, 1), make(chan error, 1)
		c := dial(func(c net.Conn) {
			s := NewServer(c, options())
			servers <- s
			ended <- s.Serve(t.Context(), &handler{serve: echo})
		})
		cc := NewClientConn(c, ClientOptions{})
		defer cc.Close()
		if _, _, err := exchange(t, cc, newRequest("GET", "/", "")); err != nil {
			t.Fatal(err)
		}
		(<-servers).Drain()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestDrainDuringARequestClosesAfterIt(t *testing.T) {
	overEachTransport(t, func(t *testing.T, dial func(func(net.Conn)) net.Conn) {
		servers, ended := make(chan *Server, 1), make(chan error, 1)
		c := dial(func(c net.Conn) {
			s := NewServer(c, options())
			servers <- s
			ended <- s.Serve(t.Context(), &handler{serve: func(st codec.ServerStream) {
				s.Drain()
				echo(st)
			}})
		})
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || !resp.Close {
			t.Errorf("%v, %v", resp, err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestReplyAfterAbortOverEachTransport(t *testing.T) {
	overEachTransport(t, func(t *testing.T, dial func(func(net.Conn)) net.Conn) {
		cause := errors.New("request timeout")
		h := &handler{serve: func(s codec.ServerStream) {
			timer := time.AfterFunc(20*time.Millisecond, func() { s.Abort(cause) })
			defer timer.Stop()
			if _, err := io.ReadAll(s.Request().Body); !errors.Is(err, cause) {
				t.Errorf("read returned %v", err)
			}
			_ = s.WriteResponse(&message.Response{Status: 408})
		}}
		ended := make(chan error, 1)
		c := dial(func(c net.Conn) { ended <- NewServer(c, options()).Serve(t.Context(), h) })
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 408 || !resp.Close {
			t.Errorf("%v, %v", resp, err)
		}
		if err := <-ended; !errors.Is(err, cause) {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestPeerGone(t *testing.T) {
	overEachTransport(t, func(t *testing.T, dial func(func(net.Conn)) net.Conn) {
		entered, saw := make(chan bool), make(chan bool)
		h := &handler{serve: func(s codec.ServerStream) {
			if s.PeerGone() {
				t.Errorf("gone before it went")
			}
			close(entered)
			deadline := time.Now().Add(5 * time.Second)
			for !s.PeerGone() && time.Now().Before(deadline) {
			}
			saw <- s.PeerGone()
			s.Reset(nil)
		}}
		c := dial(func(c net.Conn) { _ = NewServer(c, options()).Serve(t.Context(), h) })
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-entered
		if w, ok := c.(*tls.Conn); ok {
			c = w.NetConn()
		}
		c.(*conn.Conn).Reset()
		if !<-saw {
			t.Errorf("not seen as gone")
		}
	})
}
