package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// trickle sends a byte every 20 ms until the other side answers or closes, and returns the answer.
func trickle(conn *net.TCPConn, text string) (string, error) {
	one := make([]byte, 1)
	for i := range len(text) {
		if _, err := io.WriteString(conn, text[i:i+1]); err != nil {
			break // the answer tells
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			return "", err
		}
		n, err := conn.Read(one)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err := conn.SetReadDeadline(time.Now().Add(harness.Patience)); err != nil {
			return "", err
		}
		rest, err := io.ReadAll(conn)
		return string(one[:n]) + string(rest), err
	}
	return "", errors.New("no answer while sending")
}

// Clients that send slowly, or stop, are answered with 408 when their time is over, and lose their connection.
func TestSlowSenders(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startWireLog(host)
	timeouts := map[string]string{
		"127.0.0.1:8081": "request_headers_timeout: 0.3s",
		"127.0.0.1:8082": "request_timeout: 0.3s",
		"127.0.0.1:8083": "stream_idle_timeout: 0.3s",
	}
	all := harness.Bootstrap{Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))}}
	for addr, timeout := range timeouts {
		all.Listeners = append(all.Listeners, harness.Listener{
			Name: "l" + addr[len(addr)-4:], Address: addr,
			Chains: []string{harness.Chain(strictManager("route_config: "+harness.RouteConfig("r", harness.RouteTo("/", "backend")), timeout))},
		}.YAML())
	}
	weir := host.StartWeir(harness.WeirOptions{Config: all.YAML()})
	const head, post = "GET / HTTP/1.1\r\nHost: x\r\nA: ", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"
	slow := strings.Repeat("a", 2000)
	logged := map[string]int{}
	for _, c := range []struct {
		name, addr, begin, rest  string
		body, flags, details, st string
	}{
		{"head stops", "127.0.0.1:8081", head, "", "request header timeout", "-", "request_header_timeout", "rq_header_timeout"},
		{"head trickles", "127.0.0.1:8081", "", head + slow, "request header timeout", "-", "request_header_timeout", "rq_header_timeout"},
		{"body stops", "127.0.0.1:8082", post, "", "request timeout", "-", "request_overall_timeout", "rq_timeout"},
		{"body trickles", "127.0.0.1:8082", post, slow, "request timeout", "-", "request_overall_timeout", "rq_timeout"},
		{"body stops, stream idle", "127.0.0.1:8083", post + "abc", "", "stream timeout", "SI", "stream_idle_timeout", "rq_idle_timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := host.MustDial(c.addr)
			if _, err := io.WriteString(conn, c.begin); err != nil {
				t.Fatal(err)
			}
			var answer string
			var err error
			start := time.Now()
			if c.rest != "" {
				answer, err = trickle(conn, c.rest)
			} else {
				all, failed := io.ReadAll(conn)
				answer, err = string(all), failed
			}
			if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 408 Request Timeout\r\n") || !strings.HasSuffix(answer, "\r\n\r\n"+c.body) ||
				!strings.Contains(answer, "\r\nconnection: close\r\n") {
				t.Errorf("got %q, %v", answer, err)
			}
			if d := time.Since(start); d < 250*time.Millisecond {
				t.Errorf("answered after %s", d)
			}
			logged[fmt.Sprintf("408 %s %s", c.flags, c.details)]++
			if n := weir.Stat("http.ingress.downstream_" + c.st); n == 0 {
				t.Errorf("downstream_%s is 0", c.st)
			}
		})
	}
	harness.EventuallyNil(t, "the access log", func() error { return wantLines(weir.Stdout(), logged) })
}

// A body that trickles is not idle: it arrives.
func TestTricklingBodyIsNotIdle(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startWireLog(host)
	host.StartWeir(harness.WeirOptions{Config: strictProxy(backend.TCPBackend, "", "stream_idle_timeout: 2s")})
	conn := host.MustDial("127.0.0.1:8080")
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for range 10 {
		<-tick.C
		if _, err := io.WriteString(conn, "a"); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v", resp, err)
	}
}

// Connections with half a head hold little memory, and do not keep others from being served.
func TestHalfOpenHeadsHoldLittle(t *testing.T) {
	t.Parallel()
	const clients, bound = 1500, 16 << 10
	host := harness.NewHost(t)
	backend := startWireLog(host)
	weir := host.StartWeir(harness.WeirOptions{Config: strictProxy(backend.TCPBackend, "")})
	before := weir.Stat("server.memory_allocated")
	for range clients {
		if _, err := io.WriteString(host.MustDial("127.0.0.1:8080"), "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\nUser-Ag"); err != nil {
			t.Fatal(err)
		}
	}
	weir.AwaitStat("http.ingress.downstream_cx_rx_bytes_total", func(n int) bool { return n >= clients*40 })
	held := (weir.Stat("server.memory_allocated") - before) / clients
	t.Logf("%d bytes a connection", held)
	if held > bound {
		t.Errorf("%d bytes a connection, want at most %d", held, bound)
	}
	conn := host.MustDial("127.0.0.1:8080")
	in := bufio.NewReader(conn)
	if status, body := exchange(t, conn, in, "/"); status != "200" || body != "ok" {
		t.Errorf("got %s %q", status, body)
	}
}

// A client that sends requests without reading responses is held back, and what waits for it is bounded.
func TestPipeliningIsBounded(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend, _ := answering(host, "HTTP/1.1 200 OK~date: d~Content-Length: 100000~~"+strings.Repeat("a", 100_000))
	weir := host.StartWeir(harness.WeirOptions{Config: strictProxy(backend, "", "stream_idle_timeout: 0.5s")})
	before := weir.Stat("server.memory_physical_size")
	conn := host.MustDial("127.0.0.1:8080")
	sent := 0
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	burst := strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1000)
	for range 10_000 {
		n, err := io.WriteString(conn, burst)
		sent += n
		if err != nil {
			break
		}
	}
	if sent > 100<<20 {
		t.Errorf("weir took %d bytes of requests from a client that reads nothing", sent)
	}
	if held := weir.Stat("server.memory_physical_size") - before; held > 32<<20 {
		t.Errorf("%d bytes are held", held)
	}
	weir.AwaitStat("http.ingress.downstream_cx_active", func(n int) bool { return n == 0 }) // the stream is idle
	if n := weir.Stat("http.ingress.downstream_rq_total"); n > 1000 {
		t.Errorf("%d requests were served at once", n)
	}
}
