package accel

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSending has the proxy's sockets be easy on TCP, which what is not redirected still goes by.
func TestSending(t *testing.T) {
	for name, full := range map[string]bool{"receive": false, "full": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{}, full)
			_, proxy, _ := r.connect(t, 0)
			control(t, proxy, func(fd int) {
				algorithm, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
				room, failed := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
				if err = errors.Join(err, failed); err != nil {
					t.Error(err)
				}
				if algorithm != "reno" {
					t.Errorf("congestion control is %s", algorithm)
				}
				if small := room == 2*sendRoom; small != full { // the kernel doubles it
					t.Errorf("the send buffer has %d bytes", room)
				}
			})
		})
	}
}
