package model

import (
	"crypto/tls"
	"crypto/x509"
	"regexp"
	"strings"
)

// TLSParams are the options both directions share (envoy CommonTlsContext).
type TLSParams struct {
	// MinVersion and MaxVersion are tls.VersionTLS*; 0 means Envoy's default for the direction.
	MinVersion, MaxVersion uint16
	// CipherSuites for TLS 1.2, in Go's ids; nil for Go's default.
	CipherSuites []uint16
	// Curves in order of preference; nil for Go's default.
	Curves []tls.CurveID
	ALPN   []string
	// Certificates are served (downstream, chosen by SNI) or presented (upstream, the first).
	Certificates []CertificateRef
	// Validation of the peer; nil does not verify.
	Validation *ValidationRef
}

// CertificateRef is an inline certificate or the name of a secret.
type CertificateRef struct {
	// Secret names an entry of Snapshot.Secrets; empty when Inline is set.
	Secret string
	// Source delivers Secret by SDS; nil when it is a static secret.
	Source *Source
	Inline *tls.Certificate
	// File is where the chain of Inline came from; empty when it is in the configuration itself.
	File string
}

// ValidationRef is an inline validation context, a named secret, or both (combined: the inline one refines the secret).
type ValidationRef struct {
	Secret string
	// Source delivers Secret by SDS; nil when it is a static secret.
	Source *Source
	Inline *Validation
}

// Validation says which peers are accepted (envoy CertificateValidationContext).
type Validation struct {
	// Roots is nil when no trusted CA was given: then nothing is verified but SPKI and certificate hashes.
	Roots *x509.CertPool
	// RootsPEM is what Roots was built of, for admin's /certs.
	RootsPEM []byte
	// SANs is a list of alternatives; empty accepts every name.
	SANs []SANMatcher
	// CertificateHashes (SHA-256, lower-case hex without colons) and SPKIHashes (SHA-256, base64) are alternatives.
	CertificateHashes []string
	SPKIHashes        []string
	AllowExpired      bool
	// AcceptUntrusted is trust_chain_verification: ACCEPT_UNTRUSTED.
	AcceptUntrusted bool
	// File is where the CA came from, empty for inline data.
	File string
}

// SANMatcher matches one kind of subject alternative name; Kind SANAny matches all kinds.
type SANMatcher struct {
	Kind  SANKind
	Match StringMatcher
}

// SANKind is SubjectAltNameMatcher.SanType.
type SANKind uint8

// Kinds of subject alternative names.
const (
	SANAny SANKind = iota
	SANEmail
	SANDNS
	SANURI
	SANIP
)

// DownstreamTLS terminates TLS (envoy DownstreamTlsContext).
type DownstreamTLS struct {
	TLSParams
	RequireClientCertificate bool
	// SessionTickets false disables stateless resumption.
	SessionTickets bool
	// Hash is over the content.
	Hash uint64
}

// UpstreamTLS originates TLS (envoy UpstreamTlsContext).
type UpstreamTLS struct {
	TLSParams
	// SNI to send; none when empty, unless AutoSNI takes it from the request's host or the endpoint.
	SNI            string
	AutoHostSNI    bool
	AutoSNI        bool
	AutoSAN        bool
	AllowRenegotia bool
	// SessionKeys bounds the sessions that are remembered for resumption, one per server; 0 leaves the number to weir, below
	// 0 none are.
	SessionKeys int
	// Hash is over the content.
	Hash uint64
}

// TransportSocketMatch chooses TLS for the endpoints whose "envoy.transport_socket_match" metadata contains Match.
type TransportSocketMatch struct {
	Name  string
	Match map[string]any
	TLS   *UpstreamTLS // nil: plain text
}

// Secret is a TLS certificate, a validation context, or generic bytes (envoy Secret). Exactly one is set.
type Secret struct {
	Resource
	Certificate *tls.Certificate
	Validation  *Validation
	Generic     []byte
	// Files that the secret was read from, watched for changes.
	Files []string
}

// SecretKind is what a secret is; several of them are a set.
type SecretKind uint8

// Kinds of secrets.
const (
	SecretCertificate SecretKind = 1 << iota
	SecretValidation
	SecretGeneric
)

// Kind tells what the secret is.
func (s *Secret) Kind() SecretKind {
	switch {
	case s.Certificate != nil:
		return SecretCertificate
	case s.Validation != nil:
		return SecretValidation
	}
	return SecretGeneric
}

// String is the name of the field of envoy.extensions.transport_sockets.tls.v3.Secret; those of a set are joined.
func (k SecretKind) String() string {
	var names []string
	for i, name := range []string{"tls_certificate", "validation_context", "generic_secret"} {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

// StringMatcher is envoy.type.matcher.v3.StringMatcher.
type StringMatcher struct {
	Kind       MatchKind
	Value      string // lower case when IgnoreCase
	Regex      *regexp.Regexp
	IgnoreCase bool
}

// MatchKind is the way a StringMatcher compares.
type MatchKind uint8

// Match kinds.
const (
	MatchExact MatchKind = iota
	MatchPrefix
	MatchSuffix
	MatchContains
	MatchRegex // the whole string must match
)
