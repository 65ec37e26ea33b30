package tlsctx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Server terminates TLS for one filter chain. It is safe for concurrent use.
type Server struct {
	cfg     *model.DownstreamTLS
	secrets Secrets
	names   []string
	stats   *counters

	mu    sync.Mutex // held while a configuration is built
	built atomic.Pointer[serverConfig]
}

// serverConfig is what handshakes use until a secret changes.
type serverConfig struct {
	*material
	base *tls.Config
}

// NewServer makes the context. secrets may be nil when the configuration names none. Statistics go below scope, which is
// the listener's: ssl.handshake and so on. Protocol versions default to TLS 1.2 up to 1.3, as in Envoy.
func NewServer(cfg *model.DownstreamTLS, secrets Secrets, scope *stats.Scope) *Server {
	return &Server{cfg: cfg, secrets: orNone(secrets), names: secretNames(&cfg.TLSParams), stats: newCounters(scope, serverLayout)}
}

// noteKey is where NoteCertificate keeps its argument.
type noteKey struct{}

// NoteCertificate makes a Handshake with the returned context store the leaf certificate that it presented in *to. A
// resumed session presents none: it stores the first one that is configured.
func NoteCertificate(ctx context.Context, to **x509.Certificate) context.Context {
	return context.WithValue(ctx, noteKey{}, to)
}

func note(ctx context.Context, c *tls.Certificate) {
	to, ok := ctx.Value(noteKey{}).(**x509.Certificate)
	if !ok {
		return
	}
	if *to = c.Leaf; c.Leaf == nil && len(c.Certificate) > 0 {
		*to, _ = x509.ParseCertificate(c.Certificate[0]) // nil when it cannot be parsed, as it was presented all the same
	}
}

// Handshake serves one handshake on nc. The error is an *Error, or wraps the context's when that ended first, in which
// case nc was closed.
func (s *Server) Handshake(ctx context.Context, nc net.Conn) (*tls.Conn, error) {
	built, err := s.current()
	if err != nil {
		s.stats.secretsNotReady.Inc()
		return nil, &Error{Reason: reasonText(err), Err: err}
	}
	c := tls.Server(nc, built.base)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, s.stats.failed(ctx, err)
	}
	state := c.ConnectionState()
	if state.DidResume {
		note(ctx, built.certs[0])
	}
	s.stats.succeeded(state, true)
	return c, nil
}

// current is the configuration made of the secrets as they are now.
func (s *Server) current() (*serverConfig, error) {
	if b := s.built.Load(); b != nil && b.current(s.names, s.secrets) {
		return b, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.built.Load(); b != nil && b.current(s.names, s.secrets) {
		return b, nil
	}
	m, err := resolve(&s.cfg.TLSParams, s.names, s.secrets)
	if err != nil {
		return nil, err
	}
	if len(m.certs) == 0 {
		return nil, errors.New("choose a certificate: none is configured")
	}
	b := &serverConfig{material: m, base: s.build(m)}
	s.built.Store(b)
	s.stats.takenUp(&s.cfg.TLSParams)
	return b, nil
}

// noting tells NoteCertificate of what pick chooses.
func noting(pick func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := pick(h)
		if err == nil {
			note(h.Context(), c)
		}
		return c, err
	}
}

func (s *Server) build(m *material) *tls.Config {
	p := &s.cfg.TLSParams
	cfg := &tls.Config{
		MinVersion:             orVersion(p.MinVersion, tls.VersionTLS12),
		MaxVersion:             orVersion(p.MaxVersion, tls.VersionTLS13),
		CipherSuites:           p.CipherSuites,
		CurvePreferences:       p.Curves,
		NextProtos:             p.ALPN,
		SessionTicketsDisabled: !s.cfg.SessionTickets,
		GetCertificate:         noting(newPicker(m.certs).pick),
	}
	switch {
	case s.cfg.RequireClientCertificate:
		cfg.ClientAuth = tls.RequireAnyClientCert
	case m.validation != nil:
		cfg.ClientAuth = tls.RequestClientCert
	}
	if m.validation != nil {
		cfg.ClientCAs = m.validation.Roots
		v := newVerifier(m.validation, clientUsage, s.stats)
		// Called for resumed sessions too, so that a ticket does not outlive what its certificate is checked against.
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil // RequireAnyClientCert refused it already where one is required
			}
			return v.verify(cs.PeerCertificates, "")
		}
	}
	if len(p.ALPN) > 0 {
		// crypto/tls refuses a client that offers only other protocols; Envoy goes on without ALPN.
		plain := cfg.Clone()
		plain.NextProtos = nil
		cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			for _, proto := range h.SupportedProtos {
				if slices.Contains(p.ALPN, proto) {
					return nil, nil
				}
			}
			return plain, nil
		}
	}
	return cfg
}
