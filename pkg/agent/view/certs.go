package view

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/store"
)

// inlinePath is what Envoy shows as the path of certificates that are not in a file.
const inlinePath = "<inline>"

// Certificates implements admin.Certificates: one entry per TLS context of the active listeners and clusters.
func (v Config) Certificates() *adminv3.Certificates {
	d, now := v.Dump(), time.Now
	if v.Now != nil {
		now = v.Now
	}
	c := certificates{secrets: make(map[string]*store.Entry[*model.Secret]), now: now(), out: &adminv3.Certificates{}}
	for _, s := range d.Secrets {
		if s.Active != nil {
			c.secrets[s.Name] = s.Active
		}
	}
	for _, s := range d.Listeners {
		if s.Active == nil {
			continue
		}
		l := s.Active.Value
		chains := l.FilterChains
		if l.DefaultFilterChain != nil {
			chains = append(chains[:len(chains):len(chains)], l.DefaultFilterChain)
		}
		for _, chain := range chains {
			if chain.TLS != nil {
				c.context(&chain.TLS.TLSParams)
			}
		}
	}
	for _, s := range d.Clusters {
		if s.Active == nil {
			continue
		}
		if t := s.Active.Value.TLS; t != nil {
			c.context(&t.TLSParams)
		}
		for _, match := range s.Active.Value.TransportSocketMatches {
			if match.TLS != nil {
				c.context(&match.TLS.TLSParams)
			}
		}
	}
	return c.out
}

// certificates collects what TLS contexts use.
type certificates struct {
	secrets map[string]*store.Entry[*model.Secret]
	now     time.Time
	out     *adminv3.Certificates
}

// context adds the entry of a TLS context. As in Envoy it shows the first CA certificate, and the leaf of each chain.
func (c *certificates) context(p *model.TLSParams) {
	entry := &adminv3.Certificate{}
	if v := p.Validation; v != nil {
		validation, path := v.Inline, inlinePath
		if validation == nil || len(validation.RootsPEM) == 0 {
			if s := c.secrets[v.Secret]; s != nil && s.Value.Validation != nil {
				validation = s.Value.Validation
			}
		}
		if validation != nil {
			if validation.File != "" {
				path = validation.File
			}
			if ca := firstOf(validation.RootsPEM); ca != nil {
				entry.CaCert = append(entry.CaCert, c.details(ca, path))
			}
		}
	}
	for _, ref := range p.Certificates {
		chain, path := ref.Inline, inlinePath
		if ref.File != "" {
			path = ref.File
		}
		if s := c.secrets[ref.Secret]; chain == nil && s != nil {
			chain, path = s.Value.Certificate, chainPath(s)
		}
		if leaf := leafOf(chain); leaf != nil {
			entry.CertChain = append(entry.CertChain, c.details(leaf, path))
		}
	}
	if len(entry.CaCert)+len(entry.CertChain) > 0 {
		c.out.Certificates = append(c.out.Certificates, entry)
	}
}

// chainPath is the file that the certificate of a secret came from.
func chainPath(e *store.Entry[*model.Secret]) string {
	m := &tlsv3.Secret{}
	if e.Raw == nil || e.Raw.UnmarshalTo(m) != nil {
		return inlinePath
	}
	if file, ok := m.GetTlsCertificate().GetCertificateChain().GetSpecifier().(*corev3.DataSource_Filename); ok {
		return file.Filename
	}
	return inlinePath
}

func leafOf(c *tls.Certificate) *x509.Certificate {
	if c == nil || len(c.Certificate) == 0 {
		return nil
	}
	if c.Leaf != nil {
		return c.Leaf
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return nil
	}
	return leaf
}

func firstOf(bundle []byte) *x509.Certificate {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			return c
		}
	}
	return nil
}

func (c *certificates) details(cert *x509.Certificate, path string) *adminv3.CertificateDetails {
	out := &adminv3.CertificateDetails{
		Path:                path,
		SerialNumber:        hex.EncodeToString(cert.SerialNumber.Bytes()),
		DaysUntilExpiration: uint64(max(cert.NotAfter.Sub(c.now)/(24*time.Hour), 0)),
		ValidFrom:           timestamppb.New(cert.NotBefore),
		ExpirationTime:      timestamppb.New(cert.NotAfter),
	}
	for _, name := range cert.DNSNames {
		out.SubjectAltNames = append(out.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Dns{Dns: name}})
	}
	for _, uri := range cert.URIs {
		out.SubjectAltNames = append(out.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Uri{Uri: uri.String()}})
	}
	for _, ip := range cert.IPAddresses {
		out.SubjectAltNames = append(out.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_IpAddress{IpAddress: ip.String()}})
	}
	return out
}
