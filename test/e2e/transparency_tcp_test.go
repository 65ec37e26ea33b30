package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// through starts a weir that proxies TCP to a function, and connects to it.
func through(t *testing.T, serve func(*net.TCPConn)) *net.TCPConn {
	t.Helper()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", serve)
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "tcp", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.TCP("backend"))}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	conn := host.MustDial("127.0.0.1:8080")
	if err := conn.SetDeadline(time.Now().Add(2 * harness.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// How TCP connections begin and end is the same with weir between them.
func TestTCPTransparency(t *testing.T) {
	t.Parallel()
	t.Run("server first", func(t *testing.T) {
		t.Parallel()
		conn := through(t, harness.Greets("220 ready\r\n"))
		got := make([]byte, 11)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "220 ready\r\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("client ends first", func(t *testing.T) {
		t.Parallel()
		conn := through(t, harness.EchoAtEnd)
		fmt.Fprint(conn, "question")
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != `you said "question"` {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("server ends first", func(t *testing.T) {
		t.Parallel()
		heard := make(chan string, 1)
		conn := through(t, func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "that is all") // the client sees what is missing
			_ = c.CloseWrite()
			rest, err := io.ReadAll(c)
			heard <- fmt.Sprint(string(rest), " ", err)
		})
		if got, err := io.ReadAll(conn); err != nil || string(got) != "that is all" {
			t.Errorf("got %q, %v", got, err)
		}
		fmt.Fprint(conn, "one more thing")
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := <-heard; got != "one more thing <nil>" {
			t.Errorf("the server got %s", got)
		}
	})
	t.Run("client resets", func(t *testing.T) {
		t.Parallel()
		heard := make(chan error, 1)
		conn := through(t, func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "hello") // the client waits for it
			_, err := io.Copy(io.Discard, c)
			heard <- err
		})
		if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(conn.SetLinger(0), conn.Close()); err != nil {
			t.Fatal(err)
		}
		if err := <-heard; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server got %v, want a reset", err)
		}
	})
	t.Run("server resets", func(t *testing.T) {
		t.Parallel()
		conn := through(t, func(c *net.TCPConn) {
			_, _ = io.ReadFull(c, make([]byte, 5)) // then the client waits
			_ = c.SetLinger(0)
		})
		fmt.Fprint(conn, "hello")
		if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client got %v, want a reset", err)
		}
	})
	t.Run("both ways at once", func(t *testing.T) {
		t.Parallel()
		conn := through(t, harness.Echo)
		sent := make([]byte, 4<<20)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		go func() {
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(100_000))
				if _, err := conn.Write(rest[:n]); err != nil {
					break // shows in what comes back
				}
				rest = rest[n:]
			}
			_ = conn.CloseWrite()
		}()
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came back of %d, %v", len(got), len(sent), err)
		}
	})
}
