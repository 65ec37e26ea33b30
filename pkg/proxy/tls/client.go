package tlsctx

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

const (
	// sessionCacheSize bounds the sessions that a client context remembers, one per server name, when it says nothing.
	sessionCacheSize = 64
	// maxVariants bounds the configurations that a client context keeps, one per server name and ALPN; handshakes
	// beyond build their own.
	maxVariants = 256
)

// Client originates TLS for one cluster (or transport socket match). It is safe for concurrent use.
type Client struct {
	cfg     *model.UpstreamTLS
	secrets Secrets
	names   []string
	stats   *counters

	mu    sync.Mutex // held while a configuration is built
	built atomic.Pointer[clientConfig]
}

// clientConfig is what handshakes use until a secret changes.
type clientConfig struct {
	*material
	base *tls.Config

	mu       sync.RWMutex
	variants map[variant]*tls.Config
}

// variant is what differs between handshakes of one context.
type variant struct{ serverName, alpn string }

// HandshakeOptions are what a handshake has of its own.
type HandshakeOptions struct {
	// ServerName is sent as SNI instead of the configured one when set.
	ServerName string
	// ALPN replaces the configured protocols when not nil.
	ALPN []string
}

// NewClient makes the context. secrets may be nil when the configuration names none. Statistics go below scope, which is
// the cluster's: ssl.handshake and so on. Protocol versions default to TLS 1.2 alone, as for Envoy's clients: a context
// must ask for 1.3 (tls_maximum_protocol_version). Without validation context nothing is verified, as in Envoy.
func NewClient(cfg *model.UpstreamTLS, secrets Secrets, scope *stats.Scope) *Client {
	return &Client{cfg: cfg, secrets: orNone(secrets), names: secretNames(&cfg.TLSParams), stats: newCounters(scope, clientLayout)}
}

// Handshake runs one handshake on nc. The error is an *Error, or wraps the context's when that ended first, in which
// case nc was closed.
func (c *Client) Handshake(ctx context.Context, nc net.Conn, opts HandshakeOptions) (*tls.Conn, error) {
	built, err := c.current()
	if err != nil {
		c.stats.secretsNotReady.Inc()
		return nil, &Error{Reason: reasonText(err), Err: err}
	}
	tc := tls.Client(nc, built.variant(opts, c.cfg.SNI))
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, c.stats.failed(ctx, err)
	}
	c.stats.succeeded(tc.ConnectionState(), false)
	return tc, nil
}

func (c *Client) current() (*clientConfig, error) {
	if b := c.built.Load(); b != nil && b.current(c.names, c.secrets) {
		return b, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.built.Load(); b != nil && b.current(c.names, c.secrets) {
		return b, nil
	}
	m, err := resolve(&c.cfg.TLSParams, c.names, c.secrets)
	if err != nil {
		return nil, err
	}
	b := &clientConfig{material: m, base: c.build(m), variants: map[variant]*tls.Config{}}
	c.built.Store(b)
	c.stats.takenUp(&c.cfg.TLSParams)
	return b, nil
}

func (c *Client) build(m *material) *tls.Config {
	p := &c.cfg.TLSParams
	cfg := &tls.Config{
		MinVersion: orVersion(p.MinVersion, tls.VersionTLS12),
		MaxVersion: orVersion(p.MaxVersion, max(tls.VersionTLS12, p.MinVersion)),
		// Verification is VerifyConnection's: Envoy's rules are not those of crypto/tls, which wants a host name.
		InsecureSkipVerify: true,
		CipherSuites:       p.CipherSuites,
		CurvePreferences:   p.Curves,
		NextProtos:         p.ALPN,
	}
	if c.cfg.SessionKeys >= 0 {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(cmp.Or(c.cfg.SessionKeys, sessionCacheSize))
	}
	if c.cfg.AllowRenegotia {
		cfg.Renegotiation = tls.RenegotiateFreelyAsClient
	}
	if len(m.certs) > 0 {
		cert := m.certs[0]
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	if m.validation != nil {
		v := newVerifier(m.validation, serverUsage, c.stats)
		autoSAN := c.cfg.AutoSAN
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			if autoSAN {
				return v.verify(cs.PeerCertificates, cs.ServerName)
			}
			return v.verify(cs.PeerCertificates, "")
		}
	}
	return cfg
}

// variant is the configuration for these options.
func (b *clientConfig) variant(opts HandshakeOptions, sni string) *tls.Config {
	if opts.ServerName != "" {
		sni = opts.ServerName
	}
	alpn := b.base.NextProtos
	if opts.ALPN != nil {
		alpn = opts.ALPN
	}
	key := variant{serverName: sni, alpn: strings.Join(alpn, ",")}
	b.mu.RLock()
	cfg := b.variants[key]
	b.mu.RUnlock()
	if cfg != nil {
		return cfg
	}
	cfg = b.base.Clone()
	cfg.ServerName, cfg.NextProtos = sni, alpn
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.variants) < maxVariants {
		b.variants[key] = cfg
	}
	return cfg
}
