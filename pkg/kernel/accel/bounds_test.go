package accel

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReaderThatStops bounds what waits for it.
func TestReaderThatStops(t *testing.T) {
	const limit, message = 64 << 10, 16 << 10
	for name, full := range map[string]bool{"receive": false, "full": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{Limit: limit}, full)
			app, proxy, _ := r.connect(t, 0)
			_, writer := roles(full, app, proxy)
			sent := 0
			for {
				noError(t, writer.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
				n, err := writer.Write(make([]byte, message))
				sent += n
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				noError(t, err)
			}
			// The sum of the buffers that TCP may use at most is the rest.
			if s := r.mustStatus(t); s.Bytes == 0 || s.Bytes > limit+message || s.OverLimit == 0 || sent > 16<<20 {
				t.Errorf("%d bytes were sent to a reader that does not read: %+v", sent, s)
			}
		})
	}
}

// TestUnfit has sockets be used in ways that redirected bytes would break.
func TestUnfit(t *testing.T) {
	for _, test := range []struct {
		name          string
		full          bool
		level, option int
	}{
		{"zero copy sender", false, unix.SOL_SOCKET, unix.SO_ZEROCOPY},
		{"reader that waits for so much", true, unix.SOL_SOCKET, unix.SO_RCVLOWAT},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, Options{}, test.full)
			app, proxy, _ := r.connect(t, 0)
			reader, writer := roles(test.full, app, proxy)
			mustWrite(t, writer, "before")
			value := 1
			if test.option == unix.SO_RCVLOWAT {
				value = 4
			}
			control(t, app, func(fd int) {
				if err := unix.SetsockoptInt(fd, test.level, test.option, value); err != nil {
					t.Error(err)
				}
			})
			mustWrite(t, writer, "after")
			writer.Close()
			mustRead(t, reader, "beforeafter")
			if s := r.mustStatus(t); s.Bytes != uint64(len("before")) {
				t.Errorf("%d bytes were redirected", s.Bytes)
			}
		})
	}
}

// TestReasons has connections that cannot be accelerated say why.
func TestReasons(t *testing.T) {
	r := newRig(t, Options{}, false)
	take := func(c *net.TCPConn) (reason Reason) {
		control(t, c, func(fd int) {
			reason = r.Accelerate(fd, addrOf(c.LocalAddr()), addrOf(c.RemoteAddr()), 0, func(l *Lane) { t.Cleanup(l.Release) })
		})
		return reason
	}
	dial := func() (app, proxy *net.TCPConn) {
		nc, err := net.Dial("tcp4", r.door.Addr().String())
		noError(t, err)
		t.Cleanup(func() { nc.Close() })
		proxy, err = r.door.AcceptTCP()
		noError(t, err)
		t.Cleanup(func() { proxy.Close() })
		return nc.(*net.TCPConn), proxy
	}
	want := func(name string, got, want Reason) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	_, proxy := dial()
	want("captured", take(proxy), Accelerated)
	app, proxy := dial()
	noError(t, proxy.CloseWrite())
	noError(t, app.CloseWrite())
	waitClosed(t, app)
	want("over", take(proxy), Refused)
	noError(t, r.Attach(nil, nil))
	_, proxy = dial()
	want("not captured", take(proxy), PeerNotCaptured)
	noError(t, r.Close())
	want("closed", take(proxy), SwitchedOff)
	for reason := Accelerated; reason < reasons; reason++ {
		if reason.String() == "" {
			t.Errorf("reason %d has no name", reason)
		}
	}
}

// TestExpectIsBounded has the proxy connect to more addresses than the kernel remembers.
func TestExpectIsBounded(t *testing.T) {
	r := newRig(t, Options{}, false)
	most := int(r.objects.Backends.MaxEntries()) / 2
	loopback := netip.MustParseAddr("127.0.0.1")
	for port := range most + 10 {
		noError(t, r.Expect(netip.AddrPortFrom(loopback, uint16(port))))
	}
	known := 0
	r.expected.Range(func(any, any) bool { known++; return true })
	if known != 10 {
		t.Errorf("%d addresses are remembered, want 10", known)
	}
	var value uint32
	noError(t, r.objects.Backends.Lookup(endpoint(netip.AddrPortFrom(loopback, uint16(most))), &value))
}
