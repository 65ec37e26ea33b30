package source

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inside calls f on a thread in a network namespace that commands of ip(8) have made something of. The thread ends with it.
func inside(t *testing.T, commands string, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			for command := range strings.SplitSeq(commands, "\n") {
				args := strings.Fields(command)
				if len(args) == 0 {
					continue
				}
				if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
					return errors.Join(err, errors.New(command+": "+string(out)))
				}
			}
			f()
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

const network = `
	link set lo up
	link add one type veth peer name three
	link set one up
	link set three up
	link add two type veth peer name four
	link set two up
	link set four up
	addr add 192.0.2.10/24 dev one
	addr add 192.0.2.11/24 dev one
	addr add 198.51.100.1/24 dev two
	addr add 2001:db8::10/64 dev one nodad
	route add default via 192.0.2.1
	route add 10.1.0.0/16 via 192.0.2.1 src 192.0.2.11
	route add 10.2.0.0/16 via 198.51.100.9
	route add unreachable 10.3.0.0/16
	route add prohibit 10.4.0.0/16
	route add 10.5.0.0/16 dev two table 7
	rule add to 10.5.0.0/16 ipproto tcp dport 443 table 7
	-6 route add default via 2001:db8::1
	-6 route add unreachable 2001:db8:3::/48
`

func TestOf(t *testing.T) {
	inside(t, network, func() {
		for _, tc := range []struct {
			name, dst, want string
			protocol        Protocol
			err             error
		}{
			{"default route", "203.0.113.5:80", "192.0.2.10", TCP, nil},
			{"link", "192.0.2.77:80", "192.0.2.10", TCP, nil},
			{"route with a source", "10.1.2.3:80", "192.0.2.11", TCP, nil},
			{"other link", "10.2.0.1:80", "198.51.100.1", TCP, nil},
			{"own address", "198.51.100.1:80", "198.51.100.1", TCP, nil},
			{"own secondary address", "192.0.2.11:80", "192.0.2.10", TCP, nil},
			{"loopback", "127.0.0.3:80", "127.0.0.1", TCP, nil},
			{"rule for the port", "10.5.0.1:443", "198.51.100.1", TCP, nil},
			{"other port", "10.5.0.1:80", "192.0.2.10", TCP, nil},
			{"other protocol", "10.5.0.1:443", "192.0.2.10", UDP, nil},
			{"unreachable", "10.3.0.1:80", "", TCP, unix.EHOSTUNREACH},
			{"prohibited", "10.4.0.1:80", "", TCP, unix.EACCES},
			{"mapped", "[::ffff:10.2.0.1]:80", "198.51.100.1", TCP, nil},
			{"IPv6", "[2001:db8:1::1]:80", "2001:db8::10", TCP, nil},
			{"IPv6 datagrams", "[2001:db8:1::1]:80", "2001:db8::10", UDP, nil},
			{"IPv6 loopback", "[::1]:80", "::1", TCP, nil},
			{"IPv6 unreachable", "[2001:db8:3::1]:80", "", TCP, unix.EHOSTUNREACH},
		} {
			// t.Run has a goroutine of its own, which is not inside.
			got, err := Of(tc.protocol, netip.MustParseAddrPort(tc.dst))
			if !errors.Is(err, tc.err) || err == nil && got.String() != tc.want {
				t.Errorf("%s: %s (%v), want %s (%v)", tc.name, got, err, tc.want, tc.err)
			}
		}
	})
}

func TestOfWithoutRoute(t *testing.T) {
	inside(t, "link set lo up", func() {
		for _, dst := range []string{"10.99.0.1:80", "[fd00:99::1]:80"} {
			if got, err := Of(TCP, netip.MustParseAddrPort(dst)); !errors.Is(err, unix.ENETUNREACH) {
				t.Errorf("%s: %s (%v), want ENETUNREACH", dst, got, err)
			}
		}
	})
}

// TestOfLikeConnect compares with what a socket gets.
func TestOfLikeConnect(t *testing.T) {
	inside(t, network, func() {
		for _, dst := range []string{"203.0.113.5:80", "10.1.2.3:80", "10.2.0.1:80", "192.0.2.11:80", "[2001:db8:1::1]:80"} {
			addr := netip.MustParseAddrPort(dst)
			var to unix.Sockaddr = &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: 80}
			family := unix.AF_INET6
			if addr.Addr().Is4() {
				family, to = unix.AF_INET, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: 80}
			}
			fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer unix.Close(fd)
			if err := unix.Connect(fd, to); err != nil {
				t.Errorf("%s: %v", dst, err)
				continue
			}
			var want netip.Addr
			switch name, _ := unix.Getsockname(fd); name := name.(type) {
			case *unix.SockaddrInet4:
				want = netip.AddrFrom4(name.Addr)
			case *unix.SockaddrInet6:
				want = netip.AddrFrom16(name.Addr)
			}
			if got, err := Of(UDP, addr); err != nil || got != want {
				t.Errorf("%s: %s (%v), a socket has %s", dst, got, err, want)
			}
		}
	})
}

// answerOf is a message of the kernel.
func answerOf(kind uint16, body ...byte) []byte {
	b := make([]byte, headerSize, headerSize+len(body))
	binary.NativeEndian.PutUint32(b, uint32(headerSize+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	return append(b, body...)
}

func FuzzParse(f *testing.F) {
	route := attribute(make([]byte, routeSize), attrPrefSrc, []byte{192, 0, 2, 1})
	f.Add(answerOf(unix.RTM_NEWROUTE, route...))
	f.Add(answerOf(unix.RTM_NEWROUTE, make([]byte, routeSize)...))
	f.Add(answerOf(unix.RTM_NEWROUTE, attribute(make([]byte, routeSize), attrPrefSrc, []byte{1, 2, 3})...))
	f.Add(answerOf(unix.NLMSG_ERROR, 1, 0, 0, 0))
	f.Add(answerOf(unix.NLMSG_ERROR))
	f.Add(answerOf(unix.NLMSG_DONE))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if src, err := parse(b); (err == nil) != src.IsValid() {
			t.Errorf("%s, %v", src, err)
		}
	})
}

func TestParse(t *testing.T) {
	route := attribute(attribute(make([]byte, routeSize), attrDst, []byte{10, 0, 0, 1}), attrPrefSrc, []byte{192, 0, 2, 1})
	for _, tc := range []struct {
		name string
		in   []byte
		want string
		err  error
	}{
		{"route", answerOf(unix.RTM_NEWROUTE, route...), "192.0.2.1", nil},
		{"without a source", answerOf(unix.RTM_NEWROUTE, make([]byte, routeSize)...), "", ErrNone},
		{"cut off", answerOf(unix.RTM_NEWROUTE, route...)[:30], "", errShort},
		{"attribute too long", answerOf(unix.RTM_NEWROUTE, route[:len(route)-1]...), "", errShort},
		{"error without a number", answerOf(unix.NLMSG_ERROR), "", errShort},
		{"empty", nil, "", errShort},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := parse(tc.in); !errors.Is(err, tc.err) || err == nil && got.String() != tc.want {
				t.Errorf("%s (%v), want %s (%v)", got, err, tc.want, tc.err)
			}
		})
	}
}
