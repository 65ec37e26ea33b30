package view

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/sockdiag"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/test/golden"
)

// fakeOwners name the process after the inode.
type fakeOwners struct{}

func (fakeOwners) Owners(sockets []NamespaceSocket) []Owner {
	out := make([]Owner, 0, len(sockets))
	for _, s := range sockets {
		out = append(out, Owner{PID: int(s.Inode), Command: fmt.Sprintf("app%d", s.Inode), Container: "box"})
	}
	return out
}

func liveFakes() []listener.Live {
	client, capture, dst := netip.MustParseAddrPort("10.0.0.2:1000"), netip.MustParseAddrPort("127.0.0.1:15001"), netip.MustParseAddrPort("10.99.0.1:80")
	endpoint := netip.MustParseAddrPort("10.1.0.1:8080")
	own := listener.Live{
		ID: 1, Client: client, Socket: capture, Destination: dst, Redirected: true, Listener: "out", FilterChain: "http", Route: "cart",
		Cluster: "cart", Endpoint: endpoint, Age: 1500 * time.Millisecond, Received: 1, Sent: 2, Accelerated: true,
	}
	pod := own
	pod.ID, pod.Netns = 2, 77
	other := own // the application has closed its socket
	other.ID, other.Client = 3, netip.MustParseAddrPort("10.0.0.2:1001")
	inbound := listener.Live{ID: 4, Client: client, Socket: dst, Destination: dst, Inbound: true, Listener: "in", Received: 30, Sent: 40, Age: time.Second}
	bound := listener.Live{ID: 5, Client: netip.MustParseAddrPort("[::ffff:10.0.0.2]:1000"), Socket: dst, Destination: dst, Listener: "edge", Received: 5}
	return []listener.Live{own, pod, other, inbound, bound}
}

func socketFakes() []NamespaceSocket {
	own := NamespaceSocket{LiveSocket: intercept.LiveSocket{
		Local: netip.MustParseAddrPort("10.0.0.2:1000"), Dst: netip.MustParseAddrPort("10.99.0.1:80"), Peer: netip.MustParseAddrPort("127.0.0.1:15001"),
		Listener: "out", State: sockdiag.Established, Inode: 11, RTT: 90 * time.Microsecond, Sent: 100, Received: 200,
	}}
	pod := own
	pod.Netns, pod.Namespace, pod.Inode = 77, "pod", 12
	early := own // has no filter chain yet
	early.Local, early.State, early.Sent, early.Received, early.Inode = netip.MustParseAddrPort("10.0.0.2:1002"), sockdiag.SynSent, 0, 0, 13
	offloaded := own
	offloaded.Local, offloaded.Peer = netip.MustParseAddrPort("10.0.0.2:1003"), netip.MustParseAddrPort("10.1.0.9:5432")
	offloaded.Offloaded, offloaded.Listener, offloaded.Service, offloaded.Inode = true, "", "tcp/db", 14
	offloaded.State, offloaded.Sent, offloaded.Age = sockdiag.FinWait2, 9000, 65*time.Second
	stranger := offloaded // of an earlier weir
	stranger.State, stranger.Age = sockdiag.Established, 0
	stranger.Local, stranger.Service, stranger.Sent, stranger.Inode = netip.MustParseAddrPort("10.0.0.2:1004"), "", 8000, 15
	unknown := stranger
	unknown.Local, unknown.Service, unknown.Sent, unknown.Inode = netip.MustParseAddrPort("10.0.0.2:1005"), "tcp/old", 7000, 16
	return []NamespaceSocket{own, pod, early, offloaded, stranger, unknown}
}

// serverFakes are a server on all addresses, one on that of the connection, and one of another namespace.
func serverFakes() []NamespaceSocket {
	server := func(at string, inode uint32, netns uint64) NamespaceSocket {
		return NamespaceSocket{LiveSocket: intercept.LiveSocket{Local: netip.MustParseAddrPort(at), Inode: inode}, Netns: netns}
	}
	return []NamespaceSocket{server("[::]:80", 21, 0), server("10.99.0.1:80", 22, 0), server("10.99.0.1:80", 23, 77), server("10.99.0.1:81", 24, 0)}
}

// TestServerOf finds who gets a connection as the kernel would.
func TestServerOf(t *testing.T) {
	for _, tt := range []struct {
		at    string
		netns uint64
		want  uint32
	}{{"10.99.0.1:80", 0, 22}, {"10.99.0.2:80", 0, 21}, {"[fd00::1]:80", 0, 21}, {"10.99.0.1:80", 77, 23}, {"10.99.0.2:80", 77, 0}, {"10.99.0.1:82", 0, 0}} {
		got := ServerOf(serverFakes(), tt.netns, netip.MustParseAddrPort(tt.at))
		if got == nil && tt.want != 0 || got != nil && got.Inode != tt.want {
			t.Errorf("%s in %d: %+v, want %d", tt.at, tt.netns, got, tt.want)
		}
	}
}

func TestConnections(t *testing.T) {
	services := func() map[string]Service { return map[string]Service{"tcp/db": {"databases", "db"}} }
	full := Connections{
		Live: func(int) []listener.Live { return liveFakes() }, Sockets: func() ([]NamespaceSocket, error) { return socketFakes(), nil },
		Services: services, Processes: fakeOwners{}, Servers: serverFakes,
	}
	broken := full
	broken.Sockets = func() ([]NamespaceSocket, error) {
		return socketFakes()[:1], errors.Join(errors.New("network namespace a: gone"), errors.New("network namespace b: gone"))
	}
	for _, tc := range []struct {
		file  string
		view  Connections
		limit int
	}{
		{"connections", full, 1000},
		{"connections_limit", full, 2},
		{"connections_problem", broken, 1000},
		{"connections_user_space", Connections{Live: full.Live}, 1000},
		{"connections_kernel", Connections{Live: func(int) []listener.Live { return nil }, Sockets: full.Sockets}, 1000},
		{"connections_none", Connections{Live: func(int) []listener.Live { return nil }}, 1000},
	} {
		t.Run(tc.file, func(t *testing.T) {
			list := tc.view.LiveConnections(tc.limit)
			golden.Check(t, "testdata/"+tc.file+".txt", list.Text())
			out, err := json.MarshalIndent(list, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, "testdata/"+tc.file+".json", string(out)+"\n")
		})
	}
}
