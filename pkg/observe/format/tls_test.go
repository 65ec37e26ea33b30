package format_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"testing"

	"github.com/weir-proxy/weir/pkg/observe/format"
)

// Both certificates of the downstream connection are told of: the client's, and the one that weir presented.
func TestDownstreamCertificates(t *testing.T) {
	certificate := func(name string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".test", "also.test"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
			URIs: []*url.URL{{Scheme: "spiffe", Host: "test", Path: "/" + name}},
		}
	}
	c := sample()
	for _, side := range []string{"LOCAL", "PEER"} {
		text := "%DOWNSTREAM_" + side + "_SUBJECT% %DOWNSTREAM_" + side + "_URI_SAN% %DOWNSTREAM_" + side + "_DNS_SAN% %DOWNSTREAM_" + side + "_IP_SAN%"
		f, err := format.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		c.Info.Conn.TLS, c.Info.Conn.LocalCertificate = nil, nil
		if got := string(f.Append(nil, c)); got != "- - - -" {
			t.Errorf("without TLS: %s", got)
		}
		c.Info.Conn.LocalCertificate = certificate("LOCAL")
		c.Info.Conn.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate("PEER")}}
		want := "CN=" + side + " spiffe://test/" + side + " " + side + ".test,also.test 10.0.0.1"
		if got := string(f.Append(nil, c)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
