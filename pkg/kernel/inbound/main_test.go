package inbound

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/test/await"
)

// TestMain turns the test binary into an application when a test started it as such.
func TestMain(m *testing.M) {
	if os.Getenv("WEIR_TEST_ROLE") == "server" {
		runServer()
		return
	}
	os.Exit(m.Run())
}

// runServer obeys the lines on its standard input, "listen NETWORK ADDRESS" and "close ADDRESS", and answers each with the address
// or an error. Who connects gets the address that it listens on.
func runServer() {
	listeners := make(map[string]net.Listener)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "listen":
			l, err := listen("app", words[1], words[2])
			if err != nil {
				fmt.Println("error", err)
				continue
			}
			listeners[l.Addr().String()] = l
			go greet(l, "app")
			fmt.Println(l.Addr())
		case "close":
			fmt.Println(words[1], listeners[words[1]].Close())
		}
	}
}

func listen(who, network, addr string) (net.Listener, error) {
	network, option, _ := strings.Cut(network, "+")
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			switch option {
			case "share":
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			case "lo":
				unix.BindToDevice(int(fd), "lo")
			}
		})
	}}
	lc.SetMultipathTCP(who == "app") // sockets of the other kind cannot be in a sockmap
	return lc.Listen(context.Background(), network, addr)
}

func greet(l net.Listener, who string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "%s %s %s", who, c.LocalAddr(), c.RemoteAddr())
		c.Close()
	}
}

// host is a network namespace with addresses on its loopback device.
type host struct {
	*netns.Namespace
}

const (
	ip4 = "10.50.0.1"
	ip6 = "fd00:50::1"
)

func newHost(t *testing.T) host {
	t.Helper()
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	var n *netns.Namespace
	if err := own.Do(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		for _, args := range []string{"link set lo up", "addr add " + ip4 + "/32 dev lo", "addr add " + ip6 + "/128 dev lo nodad"} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %s: %w: %s", args, err, out)
			}
		}
		n, err = netns.Current()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return host{n}
}

// listen opens a listener in the namespace, of the test's own process, and greets who connects to it.
func (h host) listen(t *testing.T, network, addr, who string) net.Listener {
	t.Helper()
	var l net.Listener
	if err := h.Do(func() (err error) {
		l, err = listen(who, network, addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		greet(l, who)
		close(done)
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l
}

// dial says who answers, and the addresses that it sees; or the error.
func (h host) dial(addr string) (who, local string) {
	var c net.Conn
	err := h.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", addr, await.Patience)
		return err
	})
	if err != nil {
		return errnoName(err), ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(await.Patience))
	text, err := io.ReadAll(c)
	words := strings.Fields(string(text))
	if err != nil || len(words) != 3 {
		return fmt.Sprintf("%q (%v)", text, err), ""
	}
	return words[0], words[1]
}

func errnoName(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// bench is inbound capture with a cgroup and a namespace of its own.
type bench struct {
	*Inbound
	host
	hierarchy *cgroup.Hierarchy
	dir       string
	sinks     []net.Listener
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchWith(t, Options{})
}

func newBenchWith(t *testing.T, o Options) *bench {
	t.Helper()
	h := kerneltest.Hierarchy(t)
	b := &bench{host: newHost(t), hierarchy: h, dir: kerneltest.Cgroup(t, h, kerneltest.CgroupName(t))}
	o.Hierarchy = h
	var err error
	if b.Inbound, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Inbound.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) Close() error { return b.Inbound.Close() }

// everywhere takes all ports.
func everywhere() *Plan {
	return &Plan{Rules: []Rule{
		{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, {Prefix: netip.MustParsePrefix("::/0")},
	}}
}

// start captures for the cgroup, in the namespace.
func (b *bench) start(t *testing.T, plan *Plan) {
	t.Helper()
	b.sinks = []net.Listener{b.listen(t, "tcp4", "127.0.0.1:0", "weir"), b.listen(t, "tcp6", "[::1]:0", "weir")}
	must(t, b.Apply(plan))
	must(t, b.SetCgroups([]string{b.dir}))
	must(t, b.AddNamespace(b.Namespace, b.sink(0), b.sink(1)))
}

func (b *bench) sink(n int) Sink {
	l := b.sinks[n]
	return Sink{Socket: l.(syscall.Conn), Addr: l.Addr().(*net.TCPAddr).AddrPort()}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect fails unless a connection to addr is answered by who, which sees addr as its own address.
func (b *bench) expect(t *testing.T, addr, who string) {
	t.Helper()
	got, local := b.dial(addr)
	if got != who || local != "" && local != addr {
		t.Errorf("%s: answered by %s at %s, want %s", addr, got, local, who)
	}
}

// app is a process in a cgroup and a namespace.
type app struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

// app starts an application in the cgroup; an empty one is the test's own.
func (h host) app(t *testing.T, dir string) *app {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEIR_TEST_ROLE=server")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if dir != "" {
		f, err := os.Open(dir)
		must(t, err)
		defer f.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.SysProcAttr.Pdeathsig = 0 // the thread that enters the namespace may end before the test
	must(t, h.Do(cmd.Start))
	a := &app{t, cmd, in, bufio.NewScanner(out)}
	t.Cleanup(a.end)
	return a
}

// end ends the process; it may have been done.
func (a *app) end() {
	a.in.Close()
	a.cmd.Process.Kill()
	a.cmd.Wait()
}

// listen makes the application listen, and returns the address.
func (a *app) listen(network, addr string) string {
	a.t.Helper()
	return a.say("listen " + network + " " + addr)
}

func (a *app) close(addr string) { a.say("close " + addr) }

func (a *app) say(line string) string {
	a.t.Helper()
	fmt.Fprintln(a.in, line)
	if !a.lines.Scan() || strings.HasPrefix(a.lines.Text(), "error") {
		a.t.Fatalf("%s: %s", line, a.lines.Text())
	}
	return a.lines.Text()
}

// on is the port of an address at another IP address.
func on(ip, addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(ip, port)
}
