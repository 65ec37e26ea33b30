package tlsinspector

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// clientHello is what crypto/tls sends first.
func clientHello(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	go func() { tls.Client(b, cfg).Handshake(); b.Close() }()
	head := make([]byte, recordHeader)
	if _, err := io.ReadFull(a, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(a, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// fragment splits the one record of a hello into records of at most n bytes.
func fragment(hello []byte, n int) []byte {
	var out []byte
	for part := range slices.Chunk(hello[recordHeader:], n) {
		out = append(out, typeHandshake, 3, 1, byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

// slowConn hands out step bytes more for each Peek that needs more.
type slowConn struct {
	data  []byte
	there int
	step  int
}

func (c *slowConn) Peek(_ context.Context, n int) ([]byte, error) {
	for c.there < n {
		if c.there == len(c.data) {
			return c.data[:c.there], io.EOF
		}
		c.there = min(len(c.data), c.there+c.step)
	}
	return c.data[:c.there], nil
}

func (c *slowConn) Discard(int) error { return nil }

func TestInspect(t *testing.T) {
	modern := clientHello(t, &tls.Config{ServerName: "Shop.Example.COM", NextProtos: []string{"h2", "http/1.1"}})
	bare := clientHello(t, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	huge := slices.Clone(modern[:recordHeader+handshakeHeader])
	copy(huge[recordHeader+1:], []byte{0, 0xff, 0xff})
	broken := slices.Clone(modern)
	broken[recordHeader+handshakeHeader+34] = 0xff // session id longer than the message allows
	broken = broken[:recordHeader+handshakeHeader+60]
	binary.BigEndian.PutUint16(broken[3:], uint16(len(broken)-recordHeader))
	copy(broken[recordHeader+1:], []byte{0, 0, byte(len(broken) - recordHeader - handshakeHeader)})
	type want struct {
		Transport, SNI string
		ALPN           []string
		Verdict        filter.ListenerVerdict
		Counter        string
	}
	alpn := []string{"h2", "http/1.1"}
	cases := []struct {
		name  string
		data  []byte
		close bool
		want  want
	}{
		{"modern", modern, false, want{"tls", "shop.example.com", alpn, filter.Continue, "sni_found"}},
		{"many records", fragment(modern, 100), false, want{"tls", "shop.example.com", alpn, filter.Continue, "alpn_found"}},
		{"one byte a record", fragment(modern[:], 1), false, want{"tls", "shop.example.com", alpn, filter.Continue, "tls_found"}},
		{"no extensions of interest", bare, false, want{"tls", "", nil, filter.Continue, "sni_not_found"}},
		{"http", []byte("GET / HTTP/1.1\r\n\r\n"), false, want{"", "", nil, filter.Continue, "tls_not_found"}},
		{"http, strict", []byte("GET / HTTP/1.1\r\n\r\n"), true, want{"", "", nil, filter.Continue, "tls_not_found"}},
		{"one byte and no more", []byte("Q"), false, want{"", "", nil, filter.Continue, "tls_not_found"}},
		{"another handshake message", append([]byte{22, 3, 1, 0, 4}, 2, 0, 0, 0), false, want{"", "", nil, filter.Continue, "tls_not_found"}},
		{"broken", broken, false, want{"", "", nil, filter.Continue, "tls_not_found"}},
		{"broken, strict", broken, true, want{"", "", nil, filter.Close, "tls_not_found"}},
		{"too large", huge, false, want{"", "", nil, filter.Close, "client_hello_too_large"}},
		{"cut off", modern[:len(modern)-1], false, want{"", "", nil, filter.Close, ""}},
		{"nothing", nil, false, want{"", "", nil, filter.Close, ""}},
	}
	for _, tc := range cases {
		for _, step := range []int{1, 7, 1 << 20} {
			t.Run(tc.name, func(t *testing.T) {
				st := stats.NewStore()
				f := New(tc.close).WithStats(st.Root())
				info := &streaminfo.Connection{}
				verdict, err := f.Inspect(t.Context(), &slowConn{data: tc.data, step: step}, info)
				if (verdict == filter.Close) != (err != nil) {
					t.Errorf("verdict %v with error %v", verdict, err)
				}
				got := want{info.TransportProtocol, info.ServerName, info.ALPN, verdict, tc.want.Counter}
				if d := cmp.Diff(tc.want, got); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
				if c := tc.want.Counter; c != "" && st.Root().Counter("tls_inspector."+c).Value() != 1 {
					t.Errorf("%s was not counted", c)
				}
			})
		}
	}
}

func TestFactory(t *testing.T) {
	if _, err := extension.NewRegistry(Factory()); err != nil {
		t.Fatal(err)
	}
	for _, strict := range []bool{true, false} {
		v, err := Factory().Decode(&tlsinspectorv3.TlsInspector{CloseConnectionOnClientHelloParsingErrors: strict})
		if f, ok := v.(*Filter); err != nil || !ok || f.closeOnError != strict {
			t.Errorf("Decode = %v, %v", v, err)
		}
	}
}

// FuzzParse checks that any bytes give an answer, and the same one in pieces.
func FuzzParse(f *testing.F) {
	hello := clientHello(f, &tls.Config{ServerName: "a.test", NextProtos: []string{"h2"}})
	f.Add(hello)
	f.Add(fragment(hello, 33))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte(strings.Repeat("\x16\x03\x01\x00\x01\x01", 40)))
	f.Fuzz(func(t *testing.T, p []byte) {
		whole, need, err := parse(p)
		if need != 0 && (need <= len(p) || err != nil && err != errTooLarge) {
			t.Fatalf("need %d of %d with %v", need, len(p), err)
		}
		if err != nil || need > 0 {
			return
		}
		at := 0
		for {
			h, need, err := parse(bytes.Clone(p[:at]))
			if err != nil {
				t.Fatalf("whole is fine, the first %d bytes are not: %v", at, err)
			}
			if need == 0 {
				if d := cmp.Diff(whole, h); d != "" {
					t.Fatal(d)
				}
				return
			}
			at = need
		}
	})
}
