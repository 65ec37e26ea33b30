package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// refuser refuses every datagram.
type refuser struct{}

func (refuser) Handle(d *Datagram)                   { d.Reply.Refuse(d.Peer) }
func (refuser) Vacate(*streaminfo.Namespace)         {}
func (refuser) Close()                               {}
func (refuser) Sessions() int                        { return 0 }
func (refuser) Unfinished() (awaiting, captured int) { return 0, 0 }

// A client whose socket is connected learns that nobody listens where it meant to send to, and may go on with that socket.
func TestRefuse(t *testing.T) {
	m := New(Options{
		Stats: stats.NewStore().Root(), Log: log.ForTest(t), NewHandler: func(*model.Listener) (Handler, error) { return refuser{}, nil },
		OriginalDst: func(_ *streaminfo.Namespace, _, _ netip.AddrPort) (netip.AddrPort, bool) {
			return netip.MustParseAddrPort("10.0.0.1:53"), true
		},
	})
	t.Cleanup(m.Close)
	l := &model.Listener{Resource: model.Resource{Name: "l"}, Address: netip.MustParseAddrPort("10.0.0.1:53"), UDP: &model.UDPSocket{MaxDatagram: 1500}}
	for _, err := range m.Apply(&model.Snapshot{Listeners: model.SetOf(map[string]*model.Listener{"l": l})}) {
		t.Fatal(err)
	}
	at, err := m.OpenCapture(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr("127.4.5.6"), at.IPv4), netip.AddrPortFrom(netip.IPv6Loopback(), at.IPv6[3]),
	} {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		for range 2 {
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatalf("%s: %v", to, err)
			}
			if _, err := c.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %v", to, err)
			}
		}
	}
}
