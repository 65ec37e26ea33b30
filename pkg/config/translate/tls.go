package translate

import (
	"crypto/tls"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// downstreamTLS translates the transport socket of a filter chain; nil is plain text.
func (c *call) downstreamTLS(s *corev3.TransportSocket, p *path) *model.DownstreamTLS {
	if s == nil {
		return nil
	}
	_, config := c.lookup(extension.DownstreamSockets, s.GetName(), s.GetTypedConfig(), false, p)
	m, ok := config.(*tlsv3.DownstreamTlsContext)
	if !ok {
		return nil
	}
	at := p.field("typed_config")
	mark := len(c.content)
	out := &model.DownstreamTLS{
		TLSParams:                c.tlsParams(m.GetCommonTlsContext(), tls.VersionTLS13, at.field("common_tls_context")),
		RequireClientCertificate: m.GetRequireClientCertificate().GetValue(),
		SessionTickets:           !m.GetDisableStatelessSessionResumption(),
	}
	out.Hash = c.t.Hash(m, c.content[mark:]...)
	if common := m.GetCommonTlsContext(); len(common.GetTlsCertificates())+len(common.GetTlsCertificateSdsSecretConfigs()) == 0 {
		c.fail(at.field("common_tls_context"), "no TLS certificates found for server context")
	}
	return out
}

// upstreamTLS translates the transport socket of a cluster; nil is plain text.
func (c *call) upstreamTLS(s *corev3.TransportSocket, p *path) *model.UpstreamTLS {
	if s == nil {
		return nil
	}
	_, config := c.lookup(extension.UpstreamSockets, s.GetName(), s.GetTypedConfig(), false, p)
	m, ok := config.(*tlsv3.UpstreamTlsContext)
	if !ok {
		return nil
	}
	at := p.field("typed_config")
	mark := len(c.content)
	out := &model.UpstreamTLS{
		TLSParams:      c.tlsParams(m.GetCommonTlsContext(), tls.VersionTLS12, at.field("common_tls_context")),
		SNI:            m.GetSni(),
		AutoHostSNI:    m.GetAutoHostSni(),
		AutoSAN:        m.GetAutoSniSanValidation(),
		AllowRenegotia: m.GetAllowRenegotiation(),
	}
	if keys := m.GetMaxSessionKeys(); keys != nil {
		if out.SessionKeys = int(keys.GetValue()); out.SessionKeys == 0 {
			out.SessionKeys = -1
		}
	}
	out.Hash = c.t.Hash(m, c.content[mark:]...)
	if len(out.Certificates) > 1 {
		c.fail(at.field("common_tls_context"), "multiple TLS certificates are not supported for client contexts")
	}
	return out
}

// tlsParams translates what both directions share. maxVersion is the direction's default: TLS 1.3 for servers, 1.2 for
// clients, as in Envoy.
func (c *call) tlsParams(m *tlsv3.CommonTlsContext, maxVersion uint16, p *path) model.TLSParams {
	params, at := m.GetTlsParams(), p.field("tls_params")
	out := model.TLSParams{
		MinVersion:   tlsVersion(params.GetTlsMinimumProtocolVersion(), tls.VersionTLS12),
		MaxVersion:   tlsVersion(params.GetTlsMaximumProtocolVersion(), maxVersion),
		CipherSuites: c.ciphers(params.GetCipherSuites(), at.field("cipher_suites")),
		Curves:       c.curves(params.GetEcdhCurves(), at),
		ALPN:         m.GetAlpnProtocols(),
		Validation:   c.validation(m, p),
	}
	if out.MinVersion > out.MaxVersion {
		c.fail(at, "tls_minimum_protocol_version %s is above tls_maximum_protocol_version %s", tls.VersionName(out.MinVersion), tls.VersionName(out.MaxVersion))
	}
	for i, cert := range m.GetTlsCertificates() {
		c.readOnce(cert.GetWatchedDirectory(), p.elem("tls_certificates", i))
		if pair := c.certificate(cert, p.elem("tls_certificates", i)); pair != nil {
			out.Certificates = append(out.Certificates, model.CertificateRef{Inline: pair, File: cert.GetCertificateChain().GetFilename()})
		}
	}
	for i, s := range m.GetTlsCertificateSdsSecretConfigs() {
		at := p.elem("tls_certificate_sds_secret_configs", i)
		out.Certificates = append(out.Certificates, model.CertificateRef{Secret: s.GetName(), Source: c.source(s.GetSdsConfig(), at.field("sds_config"))})
	}
	if m.GetTlsCertificateProviderInstance() != nil {
		c.unsupported(p.field("tls_certificate_provider_instance"))
	}
	if m.GetCustomTlsCertificateSelector() != nil {
		c.unsupported(p.field("custom_tls_certificate_selector"))
	}
	return out
}

// readOnce warns about files that Envoy would watch and weir reads once, because they are not in a secret.
func (c *call) readOnce(watched *corev3.WatchedDirectory, p *path) {
	if watched != nil {
		c.warn(p.field("watched_directory"), "files are read once here: put them into a secret to have them watched")
	}
}

// validation translates how the peer is verified; nil: not at all.
func (c *call) validation(m *tlsv3.CommonTlsContext, p *path) *model.ValidationRef {
	switch k := m.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		at := p.field("validation_context")
		c.readOnce(k.ValidationContext.GetWatchedDirectory(), at)
		v := c.validationContext(k.ValidationContext, at)
		c.sansNeedRoots(v, at)
		return &model.ValidationRef{Inline: v}
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		at := p.field("validation_context_sds_secret_config")
		s := k.ValidationContextSdsSecretConfig
		return &model.ValidationRef{Secret: s.GetName(), Source: c.source(s.GetSdsConfig(), at.field("sds_config"))}
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		at := p.field("combined_validation_context")
		c.readOnce(k.CombinedValidationContext.GetDefaultValidationContext().GetWatchedDirectory(), at.field("default_validation_context"))
		s := k.CombinedValidationContext.GetValidationContextSdsSecretConfig()
		sds := at.field("validation_context_sds_secret_config")
		return &model.ValidationRef{
			Inline: c.validationContext(k.CombinedValidationContext.GetDefaultValidationContext(), at.field("default_validation_context")),
			Secret: s.GetName(), Source: c.source(s.GetSdsConfig(), sds.field("sds_config")),
		}
	case nil:
		return nil
	}
	c.unsupported(p.field("validation_context_type"))
	return nil
}

// tlsVersion translates a protocol version.
func tlsVersion(v tlsv3.TlsParameters_TlsProtocol, fallback uint16) uint16 {
	switch v {
	case tlsv3.TlsParameters_TLSv1_0:
		return tls.VersionTLS10
	case tlsv3.TlsParameters_TLSv1_1:
		return tls.VersionTLS11
	case tlsv3.TlsParameters_TLSv1_2:
		return tls.VersionTLS12
	case tlsv3.TlsParameters_TLSv1_3:
		return tls.VersionTLS13
	}
	return fallback
}

// openSSLSuites are OpenSSL's names of the TLS 1.2 cipher suites that Go has.
func openSSLSuites() map[string]uint16 {
	return map[string]uint16{
		"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
		"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
		"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	}
}

// ciphers translates cipher suites in OpenSSL's or IANA's names. Groups of equal preference, [A|B], become lists.
func (c *call) ciphers(names []string, p *path) []uint16 {
	if len(names) == 0 {
		return nil
	}
	known := openSSLSuites()
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known[s.Name] = s.ID
	}
	var out []uint16
	for _, n := range names {
		for one := range strings.SplitSeq(strings.Trim(n, "[]"), "|") {
			if id, ok := known[one]; ok {
				out = append(out, id)
			} else {
				c.lacks(p, "cipher suite %s is not supported by weir and is left out", one)
			}
		}
	}
	if len(out) == 0 {
		c.fail(p, "none of the cipher suites %s is supported", strings.Join(names, ":"))
	}
	return out
}

// curves translates the names of key exchange groups.
func (c *call) curves(names []string, p *path) []tls.CurveID {
	var out []tls.CurveID
	for i, n := range names {
		switch n {
		case "X25519":
			out = append(out, tls.X25519)
		case "P-256":
			out = append(out, tls.CurveP256)
		case "P-384":
			out = append(out, tls.CurveP384)
		case "P-521":
			out = append(out, tls.CurveP521)
		case "X25519MLKEM768":
			out = append(out, tls.X25519MLKEM768)
		default:
			c.lacks(p.elem("ecdh_curves", i), "curve %s is not supported by weir and is left out", n)
		}
	}
	if len(out) == 0 && len(names) > 0 {
		c.fail(p.field("ecdh_curves"), "none of the curves is supported")
	}
	return out
}

// rawBuffer is the prototype of the plain-text socket.
func rawBuffer() *rawv3.RawBuffer { return &rawv3.RawBuffer{} }
