package cluster

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// answering is a server that answers the first request of each connection with reply, and closes the connection then if
// it is to.
func answering(t *testing.T, reply string, closes bool) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			if _, err := http.ReadRequest(r); err == nil {
				_, _ = io.WriteString(c, reply)
				if !closes {
					_, _ = io.Copy(io.Discard, r)
				}
			}
			_ = c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr)
}

func TestWhoEndedTheConnection(t *testing.T) {
	for _, tc := range []struct {
		name, reply    string
		closes         bool
		remote, active bool
	}{
		{"last response", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false, false, false},
		{"response until the end", "HTTP/1.1 200 OK\r\n\r\nok", true, true, false},
		{"no response", "", true, true, true},
		{"half a response", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", true, true, true},
		{"given up", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", false, false, true},
		{"nonsense", "SMTP\r\n\r\n", false, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			h.Apply(snapshot(static("web", answering(t, tc.reply, tc.closes).AddrPort())))
			s, err := h.stream(h.Get("web"))
			if err != nil {
				t.Fatal(err)
			}
			resp := &message.Response{}
			if err := s.RoundTrip(&message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Version: message.HTTP11}, resp, nil); err == nil {
				_, _ = io.ReadFull(resp.Body, make([]byte, 2))
				if tc.closes || !tc.active {
					_, _ = io.Copy(io.Discard, resp.Body)
				}
				_ = resp.Body.Close()
			}
			s.Close()
			n := func(yes bool) uint64 {
				if yes {
					return 1
				}
				return 0
			}
			const cx = "cluster.web.upstream_cx_destroy"
			h.want("counter", h.counter, map[string]uint64{
				cx: 1, cx + "_remote": n(tc.remote), cx + "_local": n(!tc.remote), cx + "_with_active_rq": n(tc.active),
				cx + "_remote_with_active_rq": n(tc.remote && tc.active), cx + "_local_with_active_rq": n(!tc.remote && tc.active),
			})
		})
	}
}
