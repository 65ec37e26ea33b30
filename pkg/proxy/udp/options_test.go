package udp

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestSocketOptions(t *testing.T) {
	at := func(options ...model.SocketOption) spec {
		l := &model.Listener{BindToPort: true, Address: netip.MustParseAddrPort("127.0.0.1:0"), SocketOptions: options, UDP: &model.UDPSocket{MaxDatagram: 1500}}
		return specs(l)[0]
	}
	tos := func(value int, late bool) model.SocketOption {
		return model.SocketOption{Level: unix.SOL_IP, Name: unix.IP_TOS, Int: value, Late: late}
	}
	if at().key == at(tos(8, false)).key || at(tos(8, false)).key == at(tos(16, false)).key {
		t.Error("sockets with different options have one key")
	}
	for _, late := range []bool{false, true} {
		s, err := open(t.Context(), at(tos(16, late)))
		if err != nil {
			t.Fatal(err)
		}
		var got int
		if failed := s.raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TOS) }); failed != nil || err != nil {
			t.Error(failed, err)
		}
		if got != 16 {
			t.Errorf("late %v: %d, want 16", late, got)
		}
		s.shut()
		bad := model.SocketOption{Level: unix.SOL_IP, Name: 9999, Late: late}
		if _, err := open(t.Context(), at(bad)); !errors.Is(err, syscall.ENOPROTOOPT) || !strings.Contains(err.Error(), "bind 127.0.0.1:0: set socket option 9999 of level 0: ") {
			t.Errorf("late %v: %v", late, err)
		}
	}
}
