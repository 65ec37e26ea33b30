package dns

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// server answers every A question with one address, over UDP and TCP on the same port, and notes what it was asked.
type server struct {
	addr netip.AddrPort
	mu   sync.Mutex
	got  []string // network and name
	// change has its way with an answer before it is sent.
	change func(network string, m *dnsmessage.Message)
}

func startServer(t *testing.T, answer [4]byte, change ...func(network string, m *dnsmessage.Message)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().(*net.TCPAddr).AddrPort(), change: func(_ string, _ *dnsmessage.Message) {}}
	for _, c := range change {
		s.change = c
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		_ = u.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err == nil {
				q := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, q); err == nil {
					a := s.answer(t, "tcp", q, answer)
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
				}
			}
			_ = c.Close()
		}
	})
	wg.Go(func() {
		q := make([]byte, 1500)
		for {
			n, from, err := u.ReadFrom(q)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(s.answer(t, "udp", q[:n], answer), from)
		}
	})
	return s
}

// asked returns what came since the last call.
func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

func (s *server) answer(t *testing.T, network string, question []byte, answer [4]byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		t.Errorf("question: %v", err)
		return nil
	}
	q := m.Questions[0]
	s.mu.Lock()
	s.got = append(s.got, network+" "+q.Name.String())
	s.mu.Unlock()
	m.Response, m.Additionals = true, nil
	if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type, TTL: 60}, Body: &dnsmessage.AResource{A: answer},
		}}
	}
	s.change(network, &m)
	out, err := m.Pack()
	if err != nil {
		t.Errorf("answer: %v", err)
	}
	return out
}

func TestServers(t *testing.T) {
	a, b := startServer(t, [4]byte{10, 0, 0, 1}), startServer(t, [4]byte{10, 0, 0, 1})
	for _, tc := range []struct {
		name    string
		options model.DNS
		a, b    []string
	}{
		{"servers in turn", model.DNS{Servers: []netip.AddrPort{a.addr, b.addr}}, []string{"udp host.test."}, []string{"udp host.test."}},
		{"tcp", model.DNS{Servers: []netip.AddrPort{a.addr}, TCP: true}, []string{"tcp host.test.", "tcp host.test."}, nil},
		{"as it is", model.DNS{Servers: []netip.AddrPort{a.addr}, NoSearch: true}, []string{"udp host.test.", "udp host.test."}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a.asked()
			b.asked()
			r := New(&tc.options, System())
			for range 2 {
				addrs, err := Lookup(t.Context(), r, model.DNSV4Only, "host.test")
				if err != nil || len(addrs) != 1 || addrs[0] != netip.MustParseAddr("10.0.0.1") {
					t.Fatalf("%v, %v", addrs, err)
				}
			}
			if diff := cmp.Diff([][]string{tc.a, tc.b}, [][]string{a.asked(), b.asked()}); diff != "" {
				t.Error(diff)
			}
		})
	}
	if r := System(); New(&model.DNS{}, r) != r {
		t.Error("another resolver without need")
	}
}

func TestNoSearch(t *testing.T) {
	f := &fake{}
	f.set("ip4 short.", nil, "10.0.0.7")
	if addrs, err := Lookup(t.Context(), New(&model.DNS{NoSearch: true}, f), model.DNSV4Only, "short"); err != nil || len(addrs) != 1 {
		t.Errorf("%v, %v", addrs, err)
	}
}
