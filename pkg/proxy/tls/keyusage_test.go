package tlsctx

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// A server whose RSA key serves for what its certificate does not say is counted, and connected to all the same.
func TestKeyUsageIsLookedAt(t *testing.T) {
	ca := newAuthority(t)
	for _, tc := range []struct {
		name string
		cert certOptions
		want uint64
	}{
		{"all", certOptions{rsa: true}, 0},
		{"signatures", certOptions{rsa: true, usage: x509.KeyUsageDigitalSignature}, 0},
		{"encipherment alone", certOptions{rsa: true, usage: x509.KeyUsageKeyEncipherment}, 1},
		{"not RSA", certOptions{}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.cert.names = []string{"a.test"}
			s := NewServer(&model.DownstreamTLS{TLSParams: model.TLSParams{Certificates: inline(ca.issue(tc.cert))}}, nil, stats.NewStore().Root())
			st := stats.NewStore()
			client := NewClient(&model.UpstreamTLS{SNI: "a.test"}, nil, st.Root())
			r := handshake(t, s, func(nc net.Conn) (*tls.Conn, error) { return client.Handshake(t.Context(), nc, HandshakeOptions{}) })
			if r.clientErr != nil {
				t.Fatal(r.clientErr)
			}
			if got := value(st, "ssl.was_key_usage_invalid"); got != tc.want {
				t.Errorf("was_key_usage_invalid is %d, want %d", got, tc.want)
			}
		})
	}
}
