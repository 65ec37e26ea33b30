package tlsctx

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// What a peer's certificate must be good for.
const (
	clientUsage = x509.ExtKeyUsageClientAuth
	serverUsage = x509.ExtKeyUsageServerAuth
)

// verifyError says that a certificate was not accepted; text is in Envoy's words.
type verifyError struct {
	text string
	err  error // nil when text says all
}

func (e *verifyError) Error() string {
	if e.err == nil {
		return e.text
	}
	return e.text + ": " + e.err.Error()
}

func (e *verifyError) Unwrap() error { return e.err }

// verifier checks certificates against a validation context.
type verifier struct {
	*model.Validation
	usage x509.ExtKeyUsage
	stats *counters
}

func newVerifier(v *model.Validation, usage x509.ExtKeyUsage, c *counters) *verifier {
	return &verifier{Validation: v, usage: usage, stats: c}
}

// verify checks the presented chain, leaf first: trust, names, then hashes, in Envoy's order. dnsName, when set, must be
// among the leaf's names (auto_sni_san_validation) and takes the place of the configured matchers.
func (v *verifier) verify(certs []*x509.Certificate, dnsName string) error {
	err := v.check(certs, dnsName)
	if err != nil && v.AcceptUntrusted {
		return nil // counted all the same
	}
	return err
}

func (v *verifier) check(certs []*x509.Certificate, dnsName string) error {
	if len(certs) == 0 {
		v.stats.failNoCert.Inc()
		return &verifyError{text: "verify cert failed: no certificate"}
	}
	if v.Roots != nil {
		if err := v.chain(certs); err != nil {
			v.stats.failError.Inc()
			return err
		}
	}
	leaf := certs[0]
	switch {
	case dnsName != "":
		if !slices.ContainsFunc(leaf.DNSNames, func(san string) bool { return dnsNameMatch(dnsName, san) }) {
			v.stats.failSAN.Inc()
			return &verifyError{text: "verify cert failed: SAN matcher"}
		}
	case len(v.SANs) > 0:
		if !slices.ContainsFunc(v.SANs, func(m model.SANMatcher) bool { return matchesSAN(m, leaf) }) {
			v.stats.failSAN.Inc()
			return &verifyError{text: "verify cert failed: SAN matcher"}
		}
	}
	if !v.hashesMatch(leaf) {
		v.stats.failHash.Inc()
		return &verifyError{text: "verify cert failed: cert hash and spki"}
	}
	return nil
}

// chain verifies that a trusted CA signed.
func (v *verifier) chain(certs []*x509.Certificate) error {
	opts := x509.VerifyOptions{Roots: v.Roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{v.usage}}
	for _, c := range certs[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := certs[0].Verify(opts)
	if v.AllowExpired && expired(err) {
		// A moment when all that was presented had begun to be valid.
		for _, c := range certs {
			if c.NotBefore.After(opts.CurrentTime) {
				opts.CurrentTime = c.NotBefore.Add(time.Second)
			}
		}
		_, err = certs[0].Verify(opts)
	}
	if err != nil {
		return &verifyError{text: "verify cert failed: X509_verify_cert: certificate verification error at depth 0", err: opensslWords(err)}
	}
	return nil
}

func expired(err error) bool {
	e, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && e.Reason == x509.Expired
}

// opensslWords names the usual errors as Envoy's library does.
func opensslWords(err error) error {
	switch {
	case expired(err):
		return fmt.Errorf("certificate has expired (%w)", err)
	case isType[x509.UnknownAuthorityError](err):
		return fmt.Errorf("unable to get local issuer certificate (%w)", err)
	}
	return err
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// hashesMatch tells whether one of the configured hashes is the leaf's; true when none is configured.
func (v *verifier) hashesMatch(leaf *x509.Certificate) bool {
	if len(v.CertificateHashes) == 0 && len(v.SPKIHashes) == 0 {
		return true
	}
	cert := sha256.Sum256(leaf.Raw)
	spki := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return slices.Contains(v.CertificateHashes, hex.EncodeToString(cert[:])) ||
		slices.Contains(v.SPKIHashes, base64.StdEncoding.EncodeToString(spki[:]))
}
