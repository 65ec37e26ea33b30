package faults

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

// Destinations of datagrams: proxied with weir, and answered by somebody else without.
const (
	real4 = "10.99.0.2"
	real6 = "fd00:99::2"
)

// askProgram asks both destinations, connected and not, and prints what it is answered or why not.
const askProgram = `
import errno, socket, sys
for ip in sys.argv[2:]:
    for connected in False, True:
        s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(float(sys.argv[1]))
        try:
            if connected:
                s.connect((ip, 53)); s.send(b"x")
            else:
                s.sendto(b"x", (ip, 53))
            text, peer = s.recvfrom(99)
            print(text.decode() if peer[:2] == (ip, 53) else "from %s" % (peer,))
        except OSError as e:
            print(errno.errorcode.get(e.errno) or type(e).__name__)
        s.close()
`

// echo answers each datagram with a text until the test ends.
func echo(t *testing.T, host *harness.Host, addr, text string) netip.AddrPort {
	t.Helper()
	var c *net.UDPConn
	if err := host.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			_, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort([]byte(text), from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// udpListener captures datagrams for port 53 of an address, for the cluster "datagrams".
func udpListener(ip string) string {
	return fmt.Sprintf(`{name: "udp %s", address: {socket_address: {protocol: UDP, address: %q, port_value: 53}}, bind_to_port: false, listener_filters: [{name: envoy.filters.udp_listener.udp_proxy, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig, stat_prefix: u, cluster: datagrams}}]}`, ip, ip)
}

// newUDPRig is a rig whose weir has listeners of datagrams, too.
func newUDPRig(t *testing.T, persistence, policy string) *rig {
	t.Helper()
	return newRigWith(t, persistence, policy, func(host *harness.Host) (listeners, clusters []string) {
		host.AddAddress(real6)
		for _, ip := range []string{real4, real6} {
			echo(t, host, net.JoinHostPort(ip, "53"), "direct")
			listeners = append(listeners, udpListener(ip))
		}
		return listeners, []string{harness.Cluster("datagrams", harness.To(echo(t, host, "127.0.0.1:0", "weir")))}
	})
}

// wantDatagrams asks from an application, and fails unless every answer is the one.
func wantDatagrams(t *testing.T, when string, app harness.App, answer string) {
	t.Helper()
	patience := "5"
	if answer == "TimeoutError" {
		patience = "0.3"
	}
	got := app.Run("python3", "-I", "-c", askProgram, patience, real4, real6)
	if want := strings.TrimSpace(strings.Repeat(answer+"\n", 4)); strings.TrimSpace(got.Out) != want {
		t.Errorf("%s: %q %s, want %q", when, got.Out, got.Err, want)
	}
}

// takeUDPPorts has ordinary processes bind the ports of the capture sockets, and answer whatever comes.
func takeUDPPorts(t *testing.T, host *harness.Host, ipv4 uint16, ipv6 []uint16) {
	t.Helper()
	echo(t, host, fmt.Sprintf("0.0.0.0:%d", ipv4), "squatter")
	for _, port := range ipv6 {
		echo(t, host, fmt.Sprintf("[::1]:%d", port), "squatter")
	}
}

// TestDatagramsWithoutWeir stops and kills weir, has others take the ports of its capture sockets, and starts the next one: captured
// datagrams obey the fail policy, others notice nothing, and nothing stays behind.
func TestDatagramsWithoutWeir(t *testing.T) {
	for _, tt := range []struct{ persistence, policy, without string }{
		{"UNTIL_STOPPED", "OPEN", "direct"}, {"UNTIL_STOPPED", "CLOSED", "ECONNREFUSED"}, {"PROCESS", "CLOSED", "direct"},
	} {
		t.Run(tt.persistence+" "+tt.policy, func(t *testing.T) {
			t.Parallel()
			r := newUDPRig(t, tt.persistence, tt.policy)
			app, other := r.host.App().In(r.group), r.host.App().In(r.other)
			weir := r.start(true)
			wantDatagrams(t, "with weir", app, "weir")
			var status struct {
				UDP struct {
					CaptureSockets []struct {
						IPv4 uint16   `json:"ipv4_port"`
						IPv6 []uint16 `json:"ipv6_ports"`
					} `json:"capture_sockets"`
				}
			}
			weir.JSON("/weir/interception", &status)
			weir.Signal(syscall.SIGSTOP)
			wantDatagrams(t, "stopped", app, "TimeoutError")
			wantDatagrams(t, "beside one that is stopped", other, "direct")
			weir.Signal(syscall.SIGCONT)
			wantDatagrams(t, "continued", app, "weir")

			weir.Kill()
			wantDatagrams(t, "killed", app, tt.without)
			wantDatagrams(t, "beside one that was killed", other, "direct")
			if len(status.UDP.CaptureSockets) != 1 || len(status.UDP.CaptureSockets[0].IPv6) == 0 {
				t.Fatalf("capture sockets: %+v", status)
			}
			takeUDPPorts(t, r.host, status.UDP.CaptureSockets[0].IPv4, status.UDP.CaptureSockets[0].IPv6)
			wantDatagrams(t, "squatted", app, tt.without)

			weir = r.start(true)
			wantDatagrams(t, "with the next one", app, "weir")
			weir.Stop()
			wantDatagrams(t, "after an ordered stop", app, "direct")
			if states, err := pin.List(r.fs); len(states) > 0 || err != nil {
				t.Errorf("pinned after an ordered stop: %+v (%v)", states, err)
			}
		})
	}
}

// askLoop asks both destinations again and again, and says how many questions were not answered by weir.
const askLoop = `
import socket, sys, time
bad, count, end = 0, 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for ip in sys.argv[2:]:
        s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
        count += 1
        try:
            s.sendto(b"x", (ip, 53))
            text, peer = s.recvfrom(9)
            if text != b"weir" or peer[:2] != (ip, 53): raise OSError("%s from %s" % (text, peer))
        except OSError as e: bad += 1; print(ip, repr(e), file=sys.stderr)
        s.close()
    time.sleep(0.02)
print(bad, "of", count)
`

// TestDatagramsOfAnUpgrade has one weir take over from another, with the fail policy CLOSED: no datagram is refused, and none is answered
// by anybody else. What was pinned is the second one's afterwards.
func TestDatagramsOfAnUpgrade(t *testing.T) {
	r := newUDPRig(t, "UNTIL_STOPPED", "CLOSED")
	first := r.start(true)
	clients := r.host.App().In(r.group).Start("python3", "-I", "-c", askLoop, "5", real4, real6)
	second := r.startNext(1)
	<-first.Ended()
	if got := clients.Wait(); !strings.HasPrefix(got.Out, "0 of ") {
		t.Errorf("%+v\n%s", got, second.Log())
	}
	second.Kill()
	wantDatagrams(t, "killed", r.host.App().In(r.group), "ECONNREFUSED")
	last := r.start(true)
	wantDatagrams(t, "with the next one", r.host.App().In(r.group), "weir")
	last.Stop()
	if states, err := pin.List(r.fs); len(states) > 0 || err != nil {
		t.Errorf("pinned after an ordered stop: %+v (%v)", states, err)
	}
}
