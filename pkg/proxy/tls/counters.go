package tlsctx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// counters are the statistics of a context, under Envoy's names. connectionError does not count what a fail counter
// does.
type counters struct {
	scope                                    *stats.Scope
	handshake, connectionError, resumed      *stats.Counter
	noCertificate                            *stats.Counter
	failNoCert, failError, failSAN, failHash *stats.Counter
	keyUsage                                 *stats.Counter
	secretsNotReady                          *stats.Counter
	// updatedBySDS counts the sets of secrets, some of them by SDS, that were taken up: at the first handshake after they
	// came, as contexts are built no earlier.
	updatedBySDS *stats.Counter
}

// The layouts of clusters and listeners; with thousands of clusters it matters that each is one registration.
var (
	clientLayout = stats.NewLayout(func(f *stats.Fields, c *counters) {
		c.declare(f)
		f.Counter("client_ssl_socket_factory.upstream_context_secrets_not_ready", &c.secretsNotReady)
		f.Counter("client_ssl_socket_factory.ssl_context_update_by_sds", &c.updatedBySDS)
	})
	serverLayout = stats.NewLayout(func(f *stats.Fields, c *counters) {
		c.declare(f)
		f.Counter("server_ssl_socket_factory.downstream_context_secrets_not_ready", &c.secretsNotReady)
		f.Counter("server_ssl_socket_factory.ssl_context_update_by_sds", &c.updatedBySDS)
	})
)

// declare names what both sides have. Weir staples no OCSP responses.
func (c *counters) declare(f *stats.Fields) {
	f.Counter("ssl.handshake", &c.handshake)
	f.Counter("ssl.connection_error", &c.connectionError)
	f.Counter("ssl.session_reused", &c.resumed)
	f.Counter("ssl.no_certificate", &c.noCertificate)
	f.Counter("ssl.fail_verify_no_cert", &c.failNoCert)
	f.Counter("ssl.fail_verify_error", &c.failError)
	f.Counter("ssl.fail_verify_san", &c.failSAN)
	f.Counter("ssl.fail_verify_cert_hash", &c.failHash)
	f.Counter("ssl.was_key_usage_invalid", &c.keyUsage)
	f.Counter("ssl.ocsp_staple_failed", nil)
	f.Counter("ssl.ocsp_staple_omitted", nil)
	f.Counter("ssl.ocsp_staple_responses", nil)
	f.Counter("ssl.ocsp_staple_requests", nil)
}

// newCounters registers the statistics of a side in the scope of a cluster or a listener.
func newCounters(parent *stats.Scope, side *stats.Layout[counters]) *counters {
	c := &counters{scope: parent.Scope("ssl")}
	side.Fill(parent, c)
	return c
}

// takenUp counts that a context was built for what its secrets are now.
func (c *counters) takenUp(p *model.TLSParams) {
	if bySDS(p) {
		c.updatedBySDS.Inc()
	}
}

// succeeded counts a handshake. server tells which side we are.
func (c *counters) succeeded(cs tls.ConnectionState, server bool) {
	c.handshake.Inc()
	if cs.DidResume {
		c.resumed.Inc()
	}
	if server && len(cs.PeerCertificates) == 0 {
		c.noCertificate.Inc()
	}
	if !server && misusesKey(&cs) {
		c.keyUsage.Inc()
	}
	c.scope.Counter("versions." + versionName(cs.Version)).Inc()
	c.scope.Counter("ciphers." + cipherName(cs.CipherSuite)).Inc()
	if cs.CurveID != 0 {
		c.scope.Counter("curves." + curveName(cs.CurveID)).Inc()
	}
}

// misusesKey tells whether the server did with its RSA key what its certificate does not allow (RFC 5246 section 7.4.2, RFC 8446
// section 4.4.2.2). Such servers are common, so that it is no error, as with Envoy's enforce_rsa_key_usage of false.
func misusesKey(cs *tls.ConnectionState) bool {
	if len(cs.PeerCertificates) == 0 {
		return false
	}
	leaf := cs.PeerCertificates[0]
	if leaf.PublicKeyAlgorithm != x509.RSA || leaf.KeyUsage == 0 {
		return false
	}
	needed := x509.KeyUsageDigitalSignature
	if strings.HasPrefix(tls.CipherSuiteName(cs.CipherSuite), "TLS_RSA_") {
		needed = x509.KeyUsageKeyEncipherment
	}
	return leaf.KeyUsage&needed == 0
}

// failed counts a handshake that did not succeed and gives its error.
func (c *counters) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &Error{Reason: "", Err: context.Cause(ctx)}
	}
	switch {
	case isType[*verifyError](err): // counted by kind
	case isNoClientCertificate(err):
		c.failNoCert.Inc()
	default:
		c.connectionError.Inc()
	}
	return &Error{Reason: reasonText(err), Err: err}
}

// isNoClientCertificate recognises crypto/tls's error, which has no type of its own.
func isNoClientCertificate(err error) bool {
	return errors.Unwrap(err) == nil && strings.Contains(err.Error(), "client didn't provide a certificate")
}

func versionName(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	default:
		return "TLSv1.3"
	}
}

func curveName(id tls.CurveID) string {
	switch id {
	case tls.CurveP256:
		return "P-256"
	case tls.CurveP384:
		return "P-384"
	case tls.CurveP521:
		return "P-521"
	default:
		return id.String()
	}
}

// cipherName is OpenSSL's name of a suite, which Envoy uses; TLS 1.3 suites have the same name in both worlds.
func cipherName(id uint16) string {
	name := tls.CipherSuiteName(id)
	kx, cipher, ok := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if !ok {
		return name
	}
	cipher = strings.NewReplacer("AES_128_CBC", "AES128", "AES_256_CBC", "AES256", "AES_128_GCM", "AES128-GCM",
		"AES_256_GCM", "AES256-GCM", "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", "3DES_EDE_CBC", "DES-CBC3", "_", "-").Replace(cipher)
	if kx == "RSA" {
		return cipher
	}
	return strings.ReplaceAll(kx, "_", "-") + "-" + cipher
}
