package grpclog

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// tlsProperties tells of the TLS session with the client; nil without one. Go tells no session ids.
func tlsProperties(d *streaminfo.Connection) *accesslogv3.TLSProperties {
	state := d.TLS
	if state == nil {
		return nil
	}
	out := &accesslogv3.TLSProperties{
		TlsVersion: tlsVersion(state.Version), TlsCipherSuite: wrapperspb.UInt32(uint32(state.CipherSuite)), TlsSniHostname: text(state.ServerName),
		LocalCertificateProperties: &accesslogv3.TLSProperties_CertificateProperties{}, PeerCertificateProperties: &accesslogv3.TLSProperties_CertificateProperties{},
	}
	if own := d.LocalCertificate; own != nil {
		out.LocalCertificateProperties = certificate(own)
	}
	if len(state.PeerCertificates) > 0 {
		out.PeerCertificateProperties = certificate(state.PeerCertificates[0])
	}
	return out
}

func tlsVersion(v uint16) accesslogv3.TLSProperties_TLSVersion {
	switch v {
	case tls.VersionTLS10:
		return accesslogv3.TLSProperties_TLSv1
	case tls.VersionTLS11:
		return accesslogv3.TLSProperties_TLSv1_1
	case tls.VersionTLS12:
		return accesslogv3.TLSProperties_TLSv1_2
	case tls.VersionTLS13:
		return accesslogv3.TLSProperties_TLSv1_3
	}
	return accesslogv3.TLSProperties_VERSION_UNSPECIFIED
}

func certificate(c *x509.Certificate) *accesslogv3.TLSProperties_CertificateProperties {
	type san = accesslogv3.TLSProperties_CertificateProperties_SubjectAltName
	out := &accesslogv3.TLSProperties_CertificateProperties{Subject: text(c.Subject.String()), Issuer: text(c.Issuer.String())}
	for _, u := range c.URIs {
		out.SubjectAltName = append(out.SubjectAltName, &san{San: &accesslogv3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: text(u.String())}})
	}
	for _, name := range c.DNSNames {
		out.SubjectAltName = append(out.SubjectAltName, &san{San: &accesslogv3.TLSProperties_CertificateProperties_SubjectAltName_Dns{Dns: text(name)}})
	}
	return out
}

// dynamicMetadata is the dynamic metadata that filters have set; nil for none.
func dynamicMetadata(all map[string]map[string]any) *corev3.Metadata {
	if len(all) == 0 {
		return nil
	}
	out := &corev3.Metadata{FilterMetadata: make(map[string]*structpb.Struct, len(all))}
	for filter, values := range all {
		fields := make(map[string]*structpb.Value, len(values))
		for key, value := range values {
			v, err := structpb.NewValue(kept(value))
			if err != nil { // of a type that JSON does not have
				v = structpb.NewStringValue(text(fmt.Sprint(value)))
			}
			fields[text(key)] = v
		}
		out.FilterMetadata[text(filter)] = &structpb.Struct{Fields: fields}
	}
	return out
}

// kept is a value with its strings, at any depth, made to last: filters may have taken them from a message.
func kept(value any) any {
	switch v := value.(type) {
	case string:
		return text(v)
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = kept(one)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, one := range v {
			out[text(key)] = kept(one)
		}
		return out
	}
	return value
}
