package tlsctx

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// TestNoteCertificate checks that the certificate which was presented is told, also for a resumed session.
func TestNoteCertificate(t *testing.T) {
	ca := newAuthority(t)
	first, second := ca.issue(certOptions{names: []string{"first.test"}}), ca.issue(certOptions{names: []string{"second.test"}})
	s := NewServer(&model.DownstreamTLS{
		TLSParams: model.TLSParams{Certificates: inline(first, second)}, SessionTickets: true,
	}, nil, stats.NewStore().Root())
	once := func(cfg *tls.Config) (noted *x509.Certificate, resumed bool) {
		t.Helper()
		sc, cc := sockets(t)
		done := make(chan error, 1)
		go func() {
			c, err := s.Handshake(NoteCertificate(t.Context(), &noted), sc)
			if err == nil {
				_, err = c.Write([]byte("x")) // with it comes the session ticket
			}
			done <- err
		}()
		client := tls.Client(cc, cfg)
		if _, err := client.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return noted, client.ConnectionState().DidResume
	}
	for name, want := range map[string]*tls.Certificate{"first.test": first, "second.test": second} {
		if got, _ := once(&tls.Config{ServerName: name, InsecureSkipVerify: true}); !want.Leaf.Equal(got) {
			t.Errorf("%s: another certificate was noted", name)
		}
	}
	cfg := &tls.Config{ServerName: "first.test", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	once(cfg)
	got, resumed := once(cfg)
	if !resumed || !first.Leaf.Equal(got) {
		t.Errorf("resumed %v, noted %v", resumed, got)
	}
	sc, _ := sockets(t)
	_ = sc.Close()
	if _, err := s.Handshake(t.Context(), net.Conn(sc)); err == nil {
		t.Error("a handshake on a closed socket succeeded")
	}
}
