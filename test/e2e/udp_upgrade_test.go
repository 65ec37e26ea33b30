package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// udpLoop asks by new sockets until it is told to end, and then tells how many answers it has missed.
const udpLoop = `
import signal, socket, sys, time
on, bad, count = True, 0, 0
def end(*_):
    global on
    on = False
signal.signal(signal.SIGTERM, end)
while on:
    for ip, port in ("127.0.0.1", 5300), ("10.99.0.1", 53), ("fd00:99::1", 53):
        s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
        try: s.connect((ip, port)); s.send(b"x"); count += 1; s.recv(9)
        except OSError as e: bad += 1; print(time.strftime("%T"), ip, e, file=sys.stderr)
        s.close()
    time.sleep(0.01)
print(bad, "of", count)
`

// udpKept asks by two sockets that it keeps, one of them connected, and looks where the answers come from. It asks three times more when it is told to
// end.
const udpKept = `
import signal, socket, sys, time
left, bad, count = -1, 0, 0
def end(*_):
    global left
    left = 3
signal.signal(signal.SIGTERM, end)
ip = sys.argv[1]
family = socket.AF_INET6 if ":" in ip else socket.AF_INET
bound, free = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
for s in bound, free: s.settimeout(10)
bound.connect((ip, 53))
while left:
    left -= left > 0
    try:
        bound.send(b"c"); free.sendto(b"u", (ip, 53)); count += 1
        peer, answers = bound.getpeername()[:2], (bound.recv(9), *free.recvfrom(9))
        if (peer, *answers[:2], answers[2][:2]) != ((ip, 53), b"got c", b"got u", (ip, 53)): raise OSError(str((peer, answers)))
    except OSError as e: bad += 1; print(time.strftime("%T"), e, file=sys.stderr)
print(bad, "of", count)
`

// udpUpgrade starts a weir whose clients begin, has another one take over, and ends the clients when that is done and the older one has
// ended, or, where they are to keep it, before. All of them must have got their answers.
func udpUpgrade(t *testing.T, backend func(*harness.Host) netip.AddrPort, limit int, keep bool, programs ...[]string) {
	t.Helper()
	harness.NeedInterception(t)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	at := backend(host)
	base := fmt.Sprintf("--base-id=%d", 1000+at.Port())
	options := func(epoch int) harness.WeirOptions {
		const proxy = "cluster: backend, idle_timeout: 3s"
		return harness.WeirOptions{
			Config: harness.Bootstrap{
				Listeners: []string{
					udpListener("bound", "127.0.0.1:5300", false, proxy),
					udpListener("v4", "0.0.0.0:53", true, proxy), udpListener("v6", "[::]:53", true, proxy),
				},
				Clusters: []string{harness.Cluster("backend", harness.To(at), "circuit_breakers: {thresholds: [{max_connections: 10000}]}")},
			}.YAML(),
			Capture: []*harness.Cgroup{group},
			Flags:   []string{base, fmt.Sprintf("--restart-epoch=%d", epoch), "--drain-time-s=1", fmt.Sprintf("--parent-shutdown-time-s=%d", limit)},
		}
	}
	first := host.StartWeir(options(0))
	var clients []*harness.Process
	for _, p := range programs {
		clients = append(clients, host.App().In(group).Start(append([]string{"python3", "-I", "-c"}, p...)...))
	}
	for _, listener := range []string{"v4", "v6"} {
		first.AwaitStat("udp."+listener+".downstream_sess_total", func(n int) bool { return n >= 2 })
	}
	second := host.StartWeir(options(1))
	if !keep {
		first.Wait()
	}
	for _, c := range clients {
		c.Signal(syscall.SIGTERM)
	}
	for _, c := range clients {
		if got := c.Wait(); !strings.HasPrefix(got.Out, "0 of ") {
			t.Errorf("%+v\n%s", got, second.Log())
		}
	}
	first.Wait()
}

// While one weir takes over from another, clients of a bound listener and captured ones get their answers: the socket is passed on, and
// programs of both are attached for a moment.
func TestUDPUpgrade(t *testing.T) {
	t.Parallel()
	udpUpgrade(t, func(host *harness.Host) netip.AddrPort { return udpBackend(t, host, "got ") }, 5, false, []string{udpLoop})
}

// Sockets that were captured before the upgrade are served by the older weir until they have been idle, however slow the answers are, and the answers
// come from the address that they were asked of.
func TestUDPUpgradeKeptSockets(t *testing.T) {
	t.Parallel()
	slow := func(host *harness.Host) netip.AddrPort { return slowUDPBackend(t, host, 700*time.Millisecond) }
	udpUpgrade(t, slow, 60, true, []string{udpKept, "10.99.0.1"}, []string{udpKept, "fd00:99::1"})
}

// slowUDPBackend answers as udpBackend does, each datagram after a delay.
func slowUDPBackend(t *testing.T, host *harness.Host, delay time.Duration) netip.AddrPort {
	t.Helper()
	return serveUDP(t, host, "127.0.0.1:0", func(c *net.UDPConn, question []byte, from netip.AddrPort) {
		answer := append([]byte("got "), question...)
		time.AfterFunc(delay, func() { _, _ = c.WriteToUDPAddrPort(answer, from) }) // the socket may be closed by then
	})
}
