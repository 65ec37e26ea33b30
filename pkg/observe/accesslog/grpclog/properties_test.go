package grpclog

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"net/url"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// An entry tells of the TLS session with the client, of the stream, and what filters have noted.
func TestEntryOfASecureRequest(t *testing.T) {
	x := exchange()
	x.Request.Headers.Add("x-request-id", "id-1")
	uri, err := url.Parse("spiffe://test/client")
	if err != nil {
		t.Fatal(err)
	}
	x.Info.Conn.TLS = &tls.ConnectionState{
		Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, ServerName: "shop.test",
		PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "client"}, Issuer: pkix.Name{CommonName: "ca"}, URIs: []*url.URL{uri}}},
	}
	x.Info.Conn.LocalCertificate = &x509.Certificate{Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"shop.test"}}
	x.Info.Dynamic = map[string]map[string]any{"filter": {
		"text": "a", "number": 1.5, "list": []any{true, nil}, "odd": netip.MustParseAddr("10.0.0.1"), "bytes": "\xff",
	}}
	e := (&config{}).httpEntry(x).(*accesslogv3.HTTPAccessLogEntry).GetCommonProperties()
	if e.GetStreamId() != "id-1" {
		t.Errorf("stream %q", e.GetStreamId())
	}
	type san = accesslogv3.TLSProperties_CertificateProperties_SubjectAltName
	want := &accesslogv3.TLSProperties{
		TlsVersion: accesslogv3.TLSProperties_TLSv1_3, TlsCipherSuite: wrapperspb.UInt32(0x1301), TlsSniHostname: "shop.test",
		LocalCertificateProperties: &accesslogv3.TLSProperties_CertificateProperties{
			Subject: "CN=server", SubjectAltName: []*san{{San: &accesslogv3.TLSProperties_CertificateProperties_SubjectAltName_Dns{Dns: "shop.test"}}},
		},
		PeerCertificateProperties: &accesslogv3.TLSProperties_CertificateProperties{
			Subject: "CN=client", Issuer: "CN=ca", SubjectAltName: []*san{{San: &accesslogv3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: "spiffe://test/client"}}},
		},
	}
	if diff := cmp.Diff(want, e.GetTlsProperties(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	noted := map[string]any{"text": "a", "number": 1.5, "list": []any{true, nil}, "odd": "10.0.0.1", "bytes": "!"}
	if diff := cmp.Diff(noted, e.GetMetadata().GetFilterMetadata()["filter"].AsMap()); diff != "" {
		t.Error(diff)
	}
}
