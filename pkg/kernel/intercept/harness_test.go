package intercept

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// testMark is not the default mark, so that a daemon on the same machine is of no consequence.
const testMark = 0x1234

// bench is an interceptor with a cgroup of its own.
type bench struct {
	*Interceptor
	hierarchy *cgroup.Hierarchy
	dir, name string
}

// newBench loads the programs and makes a cgroup with a unique name; both go with the test.
func newBench(t testing.TB) *bench {
	t.Helper()
	h := kerneltest.Hierarchy(t)
	name := kerneltest.CgroupName(t)
	dir := kerneltest.Cgroup(t, h, name)
	ring, err := events.New()
	if err != nil {
		t.Fatal(err)
	}
	i, err := New(Options{ProxyMark: testMark, Hierarchy: h, Ring: ring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(i.Close(), ring.Close()); err != nil {
			t.Error(err)
		}
	})
	return &bench{i, h, dir, name}
}

// plan captures the given prefixes on a port, for the bench's cgroup.
func (b *bench) plan(port uint16, prefixes ...string) *steer.Plan {
	plan := &steer.Plan{Cgroups: []string{b.name}}
	for _, prefix := range prefixes {
		plan.Rules = append(plan.Rules, steer.Rule{
			Prefix: netip.MustParsePrefix(prefix), Port: port, Action: steer.Redirect, Listener: "shop",
		})
	}
	return plan
}

func (b *bench) apply(t testing.TB, plan *steer.Plan) {
	t.Helper()
	if err := b.Apply(plan); err != nil {
		t.Fatal(err)
	}
}

// attachTo attaches to a cgroup besides those of the plan.
func (b *bench) attachTo(t *testing.T, dir string) {
	t.Helper()
	if _, err := b.Interceptor.cgroups.Set(append(b.Interceptor.cgroups.Dirs(), dir)); err != nil {
		t.Fatal(err)
	}
}

// accepted is a connection as the proxy sees it.
type accepted struct {
	flow  Flow
	known bool
}

// capture opens capture sockets of both families and accepts on them, asking for each connection's original destination.
func (b *bench) capture(t *testing.T) <-chan accepted {
	t.Helper()
	conns := make(chan accepted, 16)
	v4 := serve(t, "127.0.0.1:0", func(conn net.Conn) { b.accept(conn, conns) })
	v6 := serve(t, "[::1]:0", func(conn net.Conn) { b.accept(conn, conns) })
	if err := b.SetCapture(0, v4, v6); err != nil {
		t.Fatal(err)
	}
	return conns
}

func (b *bench) accept(conn net.Conn, conns chan<- accepted) {
	flow, known := b.OriginalDst(0, addrOf(conn.RemoteAddr()), addrOf(conn.LocalAddr()))
	fmt.Fprint(conn, "captured")
	conns <- accepted{flow, known}
}

func addrOf(addr net.Addr) netip.AddrPort { return addr.(*net.TCPAddr).AddrPort() }

// marked makes a socket one of the proxy's own.
func marked(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, testMark) })
	return errors.Join(err, failed)
}

// serve accepts until the test ends; each connection is handled in turn and closed.
func serve(t testing.TB, addr string, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := (&net.ListenConfig{Control: marked}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			handle(conn)
			hangUp(conn)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return addrOf(l.Addr())
}

// hangUp closes without a reset, whatever the client has sent: first this direction, then with the client.
func hangUp(conn net.Conn) {
	conn.(*net.TCPConn).CloseWrite()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	io.Copy(io.Discard, conn)
	conn.Close()
}

// direct is a server that is not weir.
func direct(t testing.TB, addr string) netip.AddrPort {
	return serve(t, addr, func(conn net.Conn) { fmt.Fprint(conn, "direct") })
}

// client connects from a process of its own in the cgroup.
func client(t *testing.T, dir string, req request, change ...func(*syscall.SysProcAttr)) answer {
	t.Helper()
	text, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	cmd := spawn(t, dir, "client", change...)
	cmd.Env = append(cmd.Env, "WEIR_TEST_REQUEST="+string(text))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	var ans answer
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&ans); err != nil {
		t.Fatalf("client: %v\n%s", err, out)
	}
	return ans
}

// spawn prepares the test binary in another role. It is born in the cgroup, so that all its sockets belong to it.
func spawn(t testing.TB, dir, role string, change ...func(*syscall.SysProcAttr)) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // an emulated kernel is slow
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "WEIR_TEST_ROLE="+role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if dir != "" {
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
	for _, f := range change {
		f(cmd.SysProcAttr)
	}
	return cmd
}

// receive waits for a connection.
func receive(t *testing.T, conns <-chan accepted) accepted {
	t.Helper()
	select {
	case a := <-conns:
		return a
	case <-time.After(10 * time.Second):
		t.Fatal("no connection was accepted")
		return accepted{}
	}
}
