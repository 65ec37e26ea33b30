package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/test/harness"
)

// tcpMaxSeg is TCP_MAXSEG, of level IPPROTO_TCP: what a server sets there is told to its clients.
const tcpMaxSeg = 2

// segment is the largest segment that the server at an address takes.
func segment(t *testing.T, host *harness.Host, addr string) int {
	t.Helper()
	conn := host.MustDial(addr)
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	if failed := raw.Control(func(fd uintptr) { size, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpMaxSeg) }); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	return size
}

// wantSegments checks which of the addresses take segments of about this size; 0 is what the interface allows.
func wantSegments(t *testing.T, host *harness.Host, want map[string]int) {
	t.Helper()
	for addr, size := range want {
		got := segment(t, host, addr)
		if size == 0 && got < 10000 || size != 0 && (got > size || got < size-20) {
			t.Errorf("segments of %s have %d bytes, want %d", addr, got, size)
		}
	}
}

func maxSegment(n int) string {
	return fmt.Sprintf("{description: mss, level: 6, name: %d, int_value: %d, state: STATE_PREBIND}", tcpMaxSeg, n)
}

func TestListenerSocketOptions(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	listener := func(more string) proto.Message {
		return harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
			Name: "web", Address: "127.0.0.1:8080", More: more, Chains: []string{harness.Chain(harness.TCP("backend"))},
		}.YAML())
	}
	additional := func(port int, more string) string {
		return "{address: " + harness.Address(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) + ", " + more + "}"
	}
	addresses := "additional_addresses: [" + additional(8081, "socket_options: {socket_options: ["+maxSegment(2000)+"]}") + ", " +
		additional(8082, "socket_options: {}") + ", " + additional(8083, "tcp_keepalive: {keepalive_time: 0}") + "]"
	control.Set(listener("socket_options: [" + maxSegment(1000) + ", {level: 6, name: 2, int_value: 9, type: {datagram: {}}}], " +
		"tcp_keepalive: {keepalive_time: 1000}, tcp_fast_open_queue_length: 8, " + addresses))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr)), harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More:     harness.ADS("GRPC"),
	}.YAML()})
	weir.AwaitStat("listener_manager.listener_create_success", func(n int) bool { return n == 1 })
	wantSegments(t, host, map[string]int{"127.0.0.1:8080": 1000, "127.0.0.1:8081": 2000, "127.0.0.1:8082": 0, "127.0.0.1:8083": 1000})
	for port, want := range map[string]bool{"8080": true, "8081": true, "8082": true, "8083": false} {
		conn := host.MustDial("127.0.0.1:" + port)
		_, _ = conn.Read(make([]byte, 1))
		if shown := host.App().Run("ss", "-tnoH", "sport", "=", ":"+port).Out; strings.Contains(shown, "timer:(keepalive") != want {
			t.Errorf("keep-alive at %s, want %v: %s", port, want, shown)
		}
		conn.Close()
	}

	t.Log("other options, and none")
	control.Set(listener("socket_options: [" + maxSegment(3000) + "]"))
	weir.AwaitStat("listener_manager.listener_modified", func(n int) bool { return n == 1 })
	wantSegments(t, host, map[string]int{"127.0.0.1:8080": 3000})
	control.Set(listener(""))
	weir.AwaitStat("listener_manager.listener_modified", func(n int) bool { return n == 2 })
	wantSegments(t, host, map[string]int{"127.0.0.1:8080": 0})

	t.Log("one that cannot be set")
	control.Set(listener("socket_options: [{level: 6, name: 9999, int_value: 1}]"))
	weir.AwaitStat("listener_manager.listener_create_failure", func(n int) bool { return n >= 1 })
	wantContains(t, "log", weir.Log(), "listener web: bind 127.0.0.1:8080: set socket option 9999 of level 6: protocol not available")
	wantSegments(t, host, map[string]int{"127.0.0.1:8080": 0})
}

// A socket that a weir takes over keeps the options that it has, also those that can only be set before bind, and gets what its
// configuration says.
func TestSocketOptionsAcrossUpgrade(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	start := func(epoch, size int) *harness.Weir {
		return host.StartWeir(harness.WeirOptions{
			Config: harness.Bootstrap{
				Listeners: []string{harness.Listener{
					Name: "web", Address: "[::1]:8080", Chains: []string{harness.Chain(harness.TCP("backend"))},
					More: "socket_options: [" + maxSegment(size) + ", {description: IPV6_V6ONLY, level: 41, name: 26, int_value: 1}]",
				}.YAML()},
				Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
			}.YAML(),
			Flags: []string{
				fmt.Sprintf("--base-id=%d", 1000+backend.Addr.Port()), fmt.Sprintf("--restart-epoch=%d", epoch), "--drain-time-s=1", "--parent-shutdown-time-s=2",
			},
		})
	}
	first := start(0, 1000)
	wantSegments(t, host, map[string]int{"[::1]:8080": 1000})
	second := start(1, 1000)
	first.Wait()
	wantSegments(t, host, map[string]int{"[::1]:8080": 1000})
	start(2, 2000)
	second.Wait()
	wantSegments(t, host, map[string]int{"[::1]:8080": 2000})
}
