package hcm

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// forwardClientCert settles x-forwarded-client-cert. Only a client that has shown a certificate may say anything there,
// unless it is always forwarded.
func (s *stream) forwardClientCert() {
	cfg, h := s.conn.m.cfg, &s.Request.Headers
	if cfg.ForwardClientCert == model.ClientCertSanitize {
		h.DelID(message.XForwardedClientCert)
		return
	}
	if cfg.ForwardClientCert == model.ClientCertAlwaysForwardOnly {
		return
	}
	info := s.conn.fc.Info
	if info.TLS == nil || len(info.TLS.PeerCertificates) == 0 {
		h.DelID(message.XForwardedClientCert)
		return
	}
	if cfg.ForwardClientCert == model.ClientCertForwardOnly {
		return
	}
	own := s.conn.clientCert(cfg.ClientCertDetails, info)
	if old, _ := h.Joined("x-forwarded-client-cert"); old != "" && cfg.ForwardClientCert == model.ClientCertAppendForward {
		own = s.Arena.Join(old, ",", own)
	}
	h.SetID(message.XForwardedClientCert, own)
}

// clientCert is the element of x-forwarded-client-cert that describes this connection. It is made once.
func (c *connection) clientCert(d model.ClientCertDetails, info *streaminfo.Connection) string {
	c.certOnce.Do(func() { c.cert = describeClientCert(d, info) })
	return c.cert
}

// describeClientCert writes the details in Envoy's order: what identifies both ends, then what is configured.
func describeClientCert(d model.ClientCertDetails, info *streaminfo.Connection) string {
	var parts []string
	if own := info.LocalCertificate; own != nil {
		for _, u := range own.URIs {
			parts = append(parts, "By="+u.String())
		}
	}
	chain := info.TLS.PeerCertificates
	leaf := chain[0]
	sum := sha256.Sum256(leaf.Raw)
	parts = append(parts, "Hash="+hex.EncodeToString(sum[:]))
	if d.Cert {
		parts = append(parts, `Cert="`+encodedPEM(leaf)+`"`)
	}
	if d.Chain {
		parts = append(parts, `Chain="`+encodedPEM(chain...)+`"`)
	}
	if d.Subject {
		parts = append(parts, `Subject="`+leaf.Subject.String()+`"`)
	}
	if d.URI {
		if len(leaf.URIs) == 0 {
			parts = append(parts, "URI=")
		}
		for _, u := range leaf.URIs {
			parts = append(parts, "URI="+u.String())
		}
	}
	if d.DNS {
		for _, name := range leaf.DNSNames {
			parts = append(parts, "DNS="+name)
		}
	}
	return strings.Join(parts, ";")
}

// encodedPEM is the certificates as PEM, with those characters escaped that would end the value or change in a URL.
func encodedPEM(list ...*x509.Certificate) string {
	var b strings.Builder
	for _, c := range list {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(b.String())
}
