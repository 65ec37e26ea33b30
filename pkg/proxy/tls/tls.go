// Package tlsctx terminates and originates TLS as Envoy's contexts describe it, on crypto/tls.
//
// It owns the choice of certificates, the verification of peers, the ssl.* statistics and the words of a failure. It must
// not know listeners, clusters or where secrets come from: it asks for a secret by name at each handshake, so a rotated
// one serves the next handshake and disturbs no connection. Not supported are stapled OCSP, CRLs and private-key
// providers.
//
// Locking: a context builds its *tls.Config once per set of secrets; a handshake loads it from an atomic pointer, and
// takes the context's lock only when a secret was replaced.
package tlsctx

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Secrets gives the current version of a secret; nil when there is none (yet).
type Secrets interface {
	Secret(name string) *model.Secret
}

// noSecrets stands for a nil Secrets.
type noSecrets struct{}

func (noSecrets) Secret(string) *model.Secret { return nil }

func orNone(s Secrets) Secrets {
	if s == nil {
		return noSecrets{}
	}
	return s
}

// ErrSecretMissing is wrapped by the error of a handshake whose certificate or validation secret has not arrived.
var ErrSecretMissing = errors.New("secret is not there")

// Error is why a handshake did not succeed.
type Error struct {
	// Reason is the transport failure reason in Envoy's form: "TLS_error:|<code>:...:TLS_error_end".
	Reason string
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return "TLS handshake: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// FailureReason is the transport failure reason of an error of Handshake, "" for other errors.
func FailureReason(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// material is what the secrets of a context came to.
type material struct {
	secrets    []*model.Secret // in the order of names
	certs      []*tls.Certificate
	validation *model.Validation // nil: verify nothing
}

// secretNames are the secrets that the parameters refer to.
func secretNames(p *model.TLSParams) []string {
	var names []string
	for _, c := range p.Certificates {
		if c.Inline == nil {
			names = append(names, c.Secret)
		}
	}
	if p.Validation != nil && p.Validation.Secret != "" {
		names = append(names, p.Validation.Secret)
	}
	return names
}

// bySDS tells whether any of the secrets that the parameters refer to comes by SDS; others are static.
func bySDS(p *model.TLSParams) bool {
	return p.Validation != nil && p.Validation.Source != nil ||
		slices.ContainsFunc(p.Certificates, func(c model.CertificateRef) bool { return c.Source != nil })
}

// current tells whether the material was made of the secrets as they are now.
func (m *material) current(names []string, s Secrets) bool {
	for i, name := range names {
		if s.Secret(name) != m.secrets[i] {
			return false
		}
	}
	return true
}

// resolve looks all secrets up.
func resolve(p *model.TLSParams, names []string, s Secrets) (*material, error) {
	m := &material{secrets: make([]*model.Secret, len(names))}
	byName := make(map[string]*model.Secret, len(names))
	for i, name := range names {
		sec := s.Secret(name)
		if sec == nil {
			return nil, fmt.Errorf("use secret %q: %w", name, ErrSecretMissing)
		}
		m.secrets[i], byName[name] = sec, sec
	}
	for _, c := range p.Certificates {
		cert := c.Inline
		if cert == nil {
			if cert = byName[c.Secret].Certificate; cert == nil {
				return nil, fmt.Errorf("use secret %q: it holds no certificate", c.Secret)
			}
		}
		m.certs = append(m.certs, cert)
	}
	v := p.Validation
	if v == nil {
		return m, nil
	}
	m.validation = v.Inline
	if v.Secret != "" {
		sec := byName[v.Secret].Validation
		if sec == nil {
			return nil, fmt.Errorf("use secret %q: it holds no validation context", v.Secret)
		}
		m.validation = combine(v.Inline, sec)
	}
	return m, nil
}

// combine merges a validation context with the one of a secret as protobuf merges messages
// (CombinedCertificateValidationContext): lists are joined, other fields of the secret win where they are set.
func combine(inline, secret *model.Validation) *model.Validation {
	if inline == nil {
		return secret
	}
	out := *inline
	if secret.Roots != nil {
		out.Roots, out.RootsPEM, out.File = secret.Roots, secret.RootsPEM, secret.File
	}
	out.SANs = append(append([]model.SANMatcher(nil), inline.SANs...), secret.SANs...)
	out.CertificateHashes = append(append([]string(nil), inline.CertificateHashes...), secret.CertificateHashes...)
	out.SPKIHashes = append(append([]string(nil), inline.SPKIHashes...), secret.SPKIHashes...)
	out.AllowExpired = inline.AllowExpired || secret.AllowExpired
	out.AcceptUntrusted = inline.AcceptUntrusted || secret.AcceptUntrusted
	return &out
}

// orVersion is v or, when it was not configured, what Envoy takes.
func orVersion(v, def uint16) uint16 {
	if v == 0 {
		return def
	}
	return v
}
