package inbound

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListening(t *testing.T) {
	h := newHost(t)
	for _, addr := range []string{"127.0.0.1:1001", "[::1]:1002", "[::]:1003"} {
		network := "tcp"
		if addr == "[::]:1003" {
			network = "tcp6"
		}
		h.listen(t, network, addr, "weir")
	}
	h.listen(t, "tcp", ":1004", "weir")
	var found []listening
	must(t, h.Do(func() error {
		d, err := openDiagnosis()
		if err != nil {
			return err
		}
		defer d.close()
		found, err = d.listening()
		return err
	}))
	v6only := map[netip.AddrPort]bool{}
	for _, l := range found {
		v6only[l.addr] = l.v6only
		if l.cookie == 0 || l.inode == 0 || l.cgroup == 0 || l.device != 0 {
			t.Errorf("incomplete: %+v", l)
		}
	}
	want := map[string]bool{"127.0.0.1:1001": false, "[::1]:1002": false, "[::]:1003": true, "[::]:1004": false}
	for addr, only := range want {
		got, ok := v6only[netip.MustParseAddrPort(addr)]
		if !ok || got != only && addr != "[::1]:1002" {
			t.Errorf("%s: found %t, v6only %t; all: %v", addr, ok, got, v6only)
		}
	}
	if len(found) != len(want) {
		t.Errorf("found %+v", found)
	}
}

// message is a netlink message.
func message(kind uint16, seq uint32, body []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(body))
	binary.NativeEndian.PutUint32(b, uint32(headerSize+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return append(b, body...)
}

func TestParseDump(t *testing.T) {
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
		{"socket", message(sockDiagByFamily, 7, socket), 1, false, nil},
		{"cut socket", message(sockDiagByFamily, 7, socket[:70]), 0, false, errShort},
		{"cut attribute", message(sockDiagByFamily, 7, append(socket[:72:72], 8, 0, 21, 0)), 0, false, errShort},
		{"length beyond", append(message(sockDiagByFamily, 7, nil)[:0:0], 0xff, 0, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0), 0, false, errShort},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found := 0
			done, err := parseDump(tc.data, 7, func(l listening) {
				found++
				if l.addr.String() != "10.0.0.1:80" {
					t.Errorf("found %+v", l)
				}
			})
			if found != tc.found || done != tc.done || !errors.Is(err, tc.err) {
				t.Errorf("%d found, done %t, error %v; want %d, %t, %v", found, done, err, tc.found, tc.done, tc.err)
			}
		})
	}
}

func FuzzParseDump(f *testing.F) {
	f.Add(message(unix.NLMSG_DONE, 7, nil))
	f.Add(message(sockDiagByFamily, 7, make([]byte, messageSize+12)))
	f.Add([]byte{16, 0, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		found := 0
		done, err := parseDump(data, 7, func(listening) { found++ })
		if found > len(data)/messageSize || done && err != nil {
			t.Errorf("%d found in %d bytes, done %t, error %v", found, len(data), done, err)
		}
	})
}

// A listener that is bound to a device, and one of a process in a cgroup that is not captured, are told apart by sock_diag alone.
func TestDeviceBoundIsLeftAlone(t *testing.T) {
	b := newBench(t)
	b.start(t, everywhere())
	server := b.app(t, b.dir)
	addr := server.listen("tcp4+lo", ip4+":0")
	must(t, b.Look())
	b.expect(t, addr, "app")
	counters, err := b.Counters()
	must(t, err)
	if counters["listen_device"] != 1 {
		t.Errorf("counters %v", counters)
	}
}
