package sockdiag

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

func addrOf(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// pair is a connection over loopback.
func pair(t *testing.T) (client, server *net.TCPConn, l net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn), l
}

func find(t *testing.T, q Query, match func(*Socket) bool) *Socket {
	t.Helper()
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var found *Socket
	if err := c.Dump(q, func(s *Socket) {
		if match(s) {
			clone := *s
			found = &clone
		}
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDumpEstablished(t *testing.T) {
	client, server, _ := pair(t)
	if _, err := client.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	got := find(t, Query{Info: true}, func(s *Socket) bool { return s.Local == addrOf(client.LocalAddr()) })
	if got == nil {
		t.Fatal("the client's socket is not listed")
	}
	if got.State != Established || got.Remote != addrOf(client.RemoteAddr()) || got.UID != uint32(os.Getuid()) || got.Inode == 0 {
		t.Errorf("got %+v", got)
	}
	if got.RTT <= 0 {
		t.Errorf("round-trip time %v", got.RTT)
	}
	peer := find(t, Query{Info: true}, func(s *Socket) bool { return s.Local == addrOf(client.RemoteAddr()) })
	if peer == nil || peer.Received != 1000 {
		t.Errorf("the server's socket: %+v, want 1000 bytes received", peer)
	}
	if h, err := cgroup.Find(); err == nil {
		if dir, err := h.Of(0); err == nil {
			if id, err := cgroup.ID(dir); err == nil && got.Cgroup != id {
				t.Errorf("cgroup %d, want %d", got.Cgroup, id)
			}
		}
	}
}

func TestDumpStates(t *testing.T) {
	_, _, l := pair(t)
	listens := func(s *Socket) bool { return s.Local == addrOf(l.Addr()) && s.State == Listen }
	if find(t, Query{States: []State{Listen}}, listens) == nil {
		t.Error("the listening socket is not listed")
	}
	if find(t, Query{}, listens) != nil {
		t.Error("a listening socket is among the established ones")
	}
}

func TestDumpUnknownStorage(t *testing.T) {
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Dump(Query{Storage: 1 << 20}, func(*Socket) {}); err == nil {
		t.Error("a descriptor that is none was accepted")
	}
}

// answer is a netlink message of an answer to question 7.
func answer(body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(headerSize+len(body)))
	b = binary.NativeEndian.AppendUint16(b, sockDiagByFamily)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint32(b, 7)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return append(b, body...)
}

func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func TestParseStorage(t *testing.T) {
	body := make([]byte, messageSize)
	body[0], body[1] = 2, uint8(Established)
	value := attribute(storageValue, []byte("what is stored"))
	body = append(body, attribute(attrStorages|nested, attribute(storageItem|nested, value))...)
	var got string
	if _, err := parse(answer(body), 7, func(s *Socket) { got = string(s.Stored) }); err != nil {
		t.Fatal(err)
	}
	if got != "what is stored" {
		t.Errorf("stored %q", got)
	}
}

func FuzzParse(f *testing.F) {
	body := make([]byte, messageSize)
	f.Add(answer(body))
	f.Add(answer(append(body, attribute(attrStorages, attribute(storageItem, attribute(storageValue, []byte("x"))))...)))
	f.Add(answer(append(body, attribute(attrInfo, make([]byte, 200))...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parse(b, 7, func(s *Socket) { _ = s.State.String() }) // must not panic
	})
}

// message is a netlink message of an answer to a question.
func message(kind uint16, seq uint32, body []byte) []byte {
	b := answer(body)
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return b
}

func TestParse(t *testing.T) {
	refused := make([]byte, 20)
	refusal := -int32(unix.EPERM)
	binary.NativeEndian.PutUint32(refused, uint32(refusal))
	socket := make([]byte, messageSize)
	socket[0] = unix.AF_INET
	copy(socket[4:], []byte{0, 80, 0, 0, 10, 0, 0, 1})
	for _, tc := range []struct {
		name  string
		data  []byte
		found int
		done  bool
		err   error
	}{
		{"nothing", nil, 0, false, nil},
		{"end", message(unix.NLMSG_DONE, 7, make([]byte, 4)), 0, true, nil},
		{"another question's end", message(unix.NLMSG_DONE, 6, make([]byte, 4)), 0, false, nil},
		{"error", message(unix.NLMSG_ERROR, 7, refused), 0, false, unix.EPERM},
		{"cut error", message(unix.NLMSG_ERROR, 7, nil), 0, false, errShort},
		{"socket", answer(socket), 1, false, nil},
		{"cut socket", answer(socket[:70]), 0, false, errShort},
		{"cut attribute", answer(append(socket[:72:72], 8, 0, 21, 0)), 0, false, errShort},
		{"length beyond", []byte{0xff, 0, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0}, 0, false, errShort},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found := 0
			done, err := parse(tc.data, 7, func(s *Socket) {
				found++
				if s.Local.String() != "10.0.0.1:80" {
					t.Errorf("found %+v", s)
				}
			})
			if found != tc.found || done != tc.done || !errors.Is(err, tc.err) {
				t.Errorf("%d found, done %t, error %v; want %d, %t, %v", found, done, err, tc.found, tc.done, tc.err)
			}
		})
	}
}

// TestUDP finds the sockets of UDP, and the one that a datagram comes to.
func TestUDP(t *testing.T) {
	d, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	for _, ip := range []string{"127.0.0.1", "::1"} {
		peer := netip.AddrPortFrom(netip.MustParseAddr(ip), 9)
		for _, bound := range []string{ip, map[string]string{"127.0.0.1": "0.0.0.0", "::1": "::"}[ip]} {
			c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(bound), 0)))
			if err != nil {
				t.Fatal(err)
			}
			at := netip.AddrPortFrom(netip.MustParseAddr(ip), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
			found, ok, err := d.Receiver(peer, at)
			if err != nil || !ok || found.Local.Port() != at.Port() || found.Cgroup == 0 || found.Inode == 0 || found.State != Close {
				t.Errorf("%s bound to %s: %+v, %t, %v", at, bound, found, ok, err)
			}
			listed := false
			if err := d.Dump(Query{UDP: true, States: []State{Established, Close}}, func(s *Socket) { listed = listed || s.Cookie == found.Cookie }); err != nil || !listed {
				t.Errorf("%s is listed: %t, %v", at, listed, err)
			}
			c.Close()
			if _, ok, err := d.Receiver(peer, at); ok || err != nil {
				t.Errorf("%s is there still: %v", at, err)
			}
		}
	}
}
