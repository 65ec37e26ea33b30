package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Secret translates a secret: a certificate, a validation context or generic bytes. Its hash covers the content of the
// files that it names.
func (t *Translator) Secret(m *tlsv3.Secret, meta Meta) (*model.Secret, []Warning, error) {
	c := t.begin(m, meta, resourceName("secret", m.GetName()))
	out := &model.Secret{}
	var root *path
	switch k := m.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		out.Certificate = c.certificate(k.TlsCertificate, root.field("tls_certificate"))
	case *tlsv3.Secret_ValidationContext:
		out.Validation = c.validationContext(k.ValidationContext, root.field("validation_context"))
	case *tlsv3.Secret_GenericSecret:
		out.Generic, _, _ = c.data(k.GenericSecret.GetSecret(), root.field("generic_secret").field("secret"))
	case *tlsv3.Secret_SessionTicketKeys:
		c.unsupported(root.field("session_ticket_keys"))
	default:
		c.fail(nil, "the secret is empty: tls_certificate, validation_context or generic_secret must be set")
	}
	if m.GetName() == "" {
		c.fail(root.field("name"), "must not be empty")
	}
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	out.Resource = c.identity(m.GetName(), m)
	out.Hash = t.Hash(m, c.content...)
	out.Files = c.files
	return out, warnings, nil
}

// certificate parses a certificate chain and its key; nil after an error.
func (c *call) certificate(m *tlsv3.TlsCertificate, p *path) *tls.Certificate {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"pkcs12", m.GetPkcs12() != nil},
		{"private_key_provider", m.GetPrivateKeyProvider() != nil},
		{"password", m.GetPassword() != nil},
	} {
		if f.set {
			c.unsupported(p.field(f.name))
			return nil
		}
	}
	chain, chainFile, ok := c.data(m.GetCertificateChain(), p.field("certificate_chain"))
	key, keyFile, keyOK := c.data(m.GetPrivateKey(), p.field("private_key"))
	if !ok || !keyOK {
		return nil
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		c.fail(p, "load certificate chain %s and private key %s: %v", origin(chainFile), origin(keyFile), err)
		return nil
	}
	if m.GetOcspStaple() != nil {
		pair.OCSPStaple, _, _ = c.data(m.GetOcspStaple(), p.field("ocsp_staple"))
	}
	return &pair
}

// origin is how an error calls a data source.
func origin(file string) string {
	if file == "" {
		return "<inline>"
	}
	return file
}

// validationContext translates how peers are verified. What weir cannot check is an error: leaving it out would accept
// peers that are meant to be refused.
func (c *call) validationContext(m *tlsv3.CertificateValidationContext, p *path) *model.Validation {
	out := &model.Validation{
		AllowExpired:    m.GetAllowExpiredCertificate(),
		AcceptUntrusted: m.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED,
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"crl", m.GetCrl() != nil},
		{"custom_validator_config", m.GetCustomValidatorConfig() != nil},
		{"ca_certificate_provider_instance", m.GetCaCertificateProviderInstance() != nil},
		{"require_signed_certificate_timestamp", m.GetRequireSignedCertificateTimestamp().GetValue()},
	} {
		if f.set {
			c.unsupported(p.field(f.name))
		}
	}
	c.roots(m, out, p)
	c.pins(m, out, p)
	for i, s := range m.GetMatchTypedSubjectAltNames() {
		at := p.elem("match_typed_subject_alt_names", i)
		kind, ok := sanKind(s.GetSanType())
		if !ok {
			c.fail(at.field("san_type"), "%s is not supported by weir", s.GetSanType())
			continue
		}
		if match, ok := c.stringMatcher(s.GetMatcher(), at.field("matcher")); ok {
			out.SANs = append(out.SANs, model.SANMatcher{Kind: kind, Match: match})
		}
	}
	for _, match := range c.stringMatchers(m.GetMatchSubjectAltNames(), p, "match_subject_alt_names") {
		out.SANs = append(out.SANs, model.SANMatcher{Kind: model.SANAny, Match: match})
	}
	return out
}

// sansNeedRoots refuses names that are compared with certificates nobody vouched for.
func (c *call) sansNeedRoots(v *model.Validation, p *path) {
	if len(v.SANs) > 0 && v.Roots == nil {
		c.fail(p, "SAN-based verification of peer certificates without trusted CA is insecure and not allowed")
	}
}

// sanKind translates the type of a subject alternative name.
func sanKind(t tlsv3.SubjectAltNameMatcher_SanType) (model.SANKind, bool) {
	switch t {
	case tlsv3.SubjectAltNameMatcher_EMAIL:
		return model.SANEmail, true
	case tlsv3.SubjectAltNameMatcher_DNS:
		return model.SANDNS, true
	case tlsv3.SubjectAltNameMatcher_URI:
		return model.SANURI, true
	case tlsv3.SubjectAltNameMatcher_IP_ADDRESS:
		return model.SANIP, true
	}
	return model.SANAny, false
}

// roots reads the trusted authorities.
func (c *call) roots(m *tlsv3.CertificateValidationContext, out *model.Validation, p *path) {
	if m.GetSystemRootCerts() != nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			c.fail(p.field("system_root_certs"), "load system roots: %v", err)
		}
		out.Roots = pool
		return
	}
	if m.GetTrustedCa() == nil {
		return
	}
	at := p.field("trusted_ca")
	data, file, ok := c.data(m.GetTrustedCa(), at)
	if !ok {
		return
	}
	pool := x509.NewCertPool()
	count := 0
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			c.fail(at, "load trusted CA certificates from %s: certificate %d: %v", origin(file), count+1, err)
			return
		}
		pool.AddCert(cert)
		count++
	}
	if count == 0 {
		c.fail(at, "load trusted CA certificates from %s: no PEM certificate found", origin(file))
		return
	}
	out.Roots, out.RootsPEM, out.File = pool, data, file
}

// pins translates the hashes of certificates and keys that are accepted.
func (c *call) pins(m *tlsv3.CertificateValidationContext, out *model.Validation, p *path) {
	for i, h := range m.GetVerifyCertificateHash() {
		plain := strings.ToLower(strings.ReplaceAll(h, ":", ""))
		if b, err := hex.DecodeString(plain); err != nil || len(b) != 32 {
			c.fail(p.elem("verify_certificate_hash", i), "invalid hex-encoded SHA-256 %s", h)
			continue
		}
		out.CertificateHashes = append(out.CertificateHashes, plain)
	}
	for i, h := range m.GetVerifyCertificateSpki() {
		if b, err := base64.StdEncoding.DecodeString(h); err != nil || len(b) != 32 {
			c.fail(p.elem("verify_certificate_spki", i), "invalid base64-encoded SHA-256 %s", h)
			continue
		}
		out.SPKIHashes = append(out.SPKIHashes, h)
	}
}
