package cluster

import (
	"context"
	"errors"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	tlsctx "github.com/weir-proxy/weir/pkg/proxy/tls"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// matchMetadata is the metadata of endpoints that transport socket matches look at.
const matchMetadata = "envoy.transport_socket_match"

// transports are the ways in which the hosts of a cluster are connected to.
type transports struct {
	// other dials hosts that are not of the family of dialer's source address, when there is a source address for them.
	other    *conn.Dialer
	dialer   conn.Dialer
	eyeballs model.HappyEyeballs
	stats    *metrics.Cluster
	plain    *model.UpstreamTLS // what the cluster says when nothing matches; nil for plain text
	matches  []model.TransportSocketMatch
	clients  map[*model.UpstreamTLS]*tlsctx.Client
}

// newTransports makes the TLS clients of a cluster, whose statistics go below the scope of counters.
func (m *Manager) newTransports(cfg *model.Cluster, counters *metrics.Cluster) *transports {
	scope := counters.Scope()
	t := &transports{
		dialer:   conn.Dialer{Poller: m.opt.Poller, Mark: m.opt.Mark, Bind: cfg.BindAddress, Keepalive: cfg.TCPKeepalive, Self: m.opt.Self, Passage: m.opt.Passage},
		eyeballs: cfg.HappyEyeballs,
		stats:    counters,
		plain:    cfg.TLS,
		matches:  cfg.TransportSocketMatches,
		clients:  make(map[*model.UpstreamTLS]*tlsctx.Client),
	}
	if cfg.BindOther.IsValid() {
		other := t.dialer
		other.Bind = cfg.BindOther
		t.other = &other
	}
	contexts := []*model.UpstreamTLS{cfg.TLS}
	for _, match := range cfg.TransportSocketMatches {
		contexts = append(contexts, match.TLS)
	}
	for _, context := range contexts {
		if context != nil {
			t.clients[context] = tlsctx.NewClient(context, m.opt.Secrets, scope)
		}
	}
	return t
}

// of is the TLS configuration for an endpoint, nil for plain text.
func (t *transports) of(e *model.Endpoint) *model.UpstreamTLS {
	if m := t.match(e); m != nil {
		return m.TLS
	}
	return t.plain
}

// match is the rule that chooses the transport socket of an endpoint; nil when none does.
func (t *transports) match(e *model.Endpoint) *model.TransportSocketMatch {
	if len(t.matches) == 0 {
		return nil
	}
	var metadata map[string]any
	if e != nil {
		metadata = e.Metadata[matchMetadata]
	}
	return t.first(metadata)
}

// first is the first rule that metadata satisfies; nil when none is.
func (t *transports) first(metadata map[string]any) *model.TransportSocketMatch {
	for i := range t.matches {
		if contains(metadata, t.matches[i].Match) {
			return &t.matches[i]
		}
	}
	return nil
}

// matching is the TLS configuration that metadata chooses, nil for plain text.
func (t *transports) matching(metadata map[string]any) *model.UpstreamTLS {
	if m := t.first(metadata); m != nil {
		return m.TLS
	}
	return t.plain
}

// count notes which transport socket a new host got: <match>.total_match_count, or that of default.
func (t *transports) count(e *model.Endpoint) {
	m := t.match(e)
	if m == nil {
		t.stats.DefaultMatch.Inc()
		return
	}
	t.stats.Scope().Counter(stats.Sanitize(m.Name) + ".total_match_count").Inc()
}

// contains tells whether all of want is in have.
func contains(have, want map[string]any) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || !reflect.DeepEqual(got, v) {
			return false
		}
	}
	return true
}

// transport makes connections to where the target is.
func (t *transports) transport(cfg *model.UpstreamTLS, where func() *target) pool.Transport {
	return func(ctx context.Context, from streaminfo.Origin, sni string, fallback []string) (pool.Raw, error) {
		c, err := t.dial(ctx, from, where())
		if err != nil {
			return pool.Raw{}, t.dialError(err)
		}
		raw := pool.Raw{Conn: c, Local: c.Local(), Remote: c.Remote(), Socket: c}
		if cfg == nil {
			return raw, nil
		}
		opts := tlsctx.HandshakeOptions{ServerName: sni}
		if len(cfg.ALPN) == 0 {
			opts.ALPN = fallback
		}
		conn.Waits(ctx)
		secured, err := t.clients[cfg].Handshake(ctx, c, opts)
		if err != nil {
			_ = c.Close()
			return pool.Raw{}, tlsError(err)
		}
		raw.HungUp = c.HungUp
		state := secured.ConnectionState()
		raw.Conn, raw.TLS = secured, &state
		return raw, nil
	}
}

// dialError words a failed connect as Envoy does: "delayed connect error: Connection refused" for what the peer or the
// network said, "immediate connect error: ..." for what the system refused at once.
func (t *transports) dialError(err error) error {
	if errors.Is(err, conn.ErrSelf) {
		return &upstream.Error{Kind: upstream.KindSelf, BeforeResponse: true, Err: err}
	}
	e := &upstream.Error{Kind: upstream.KindConnect, BeforeResponse: true, Err: err}
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return e
	}
	text := errno.Error() // the C library's words but for the capital
	text = strings.ToUpper(text[:1]) + text[1:]
	if call, ok := errors.AsType[*os.SyscallError](err); ok && call.Syscall == "bind" {
		t.stats.BindErrors.Inc()
		e.Kind, e.Transport = upstream.KindLocal, "failed to bind to "+t.source(err)+": "+text
		return e
	}
	e.Transport = "delayed connect error: "
	switch errno {
	case syscall.ENETUNREACH, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, syscall.EACCES, syscall.EPERM, syscall.ENOENT,
		syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.EINVAL, syscall.EAFNOSUPPORT:
		e.Transport = "immediate connect error: "
	}
	e.Transport += text
	return e
}

// source is the address that a failed dial was to come from.
func (t *transports) source(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Source != nil {
		return op.Source.String()
	}
	return t.dialer.Bind.String()
}

// tlsError keeps the words of a failed handshake.
func tlsError(err error) error {
	e := &upstream.Error{Kind: upstream.KindConnect, BeforeResponse: true, Err: err}
	if t, ok := errors.AsType[*tlsctx.Error](err); ok {
		e.Transport = t.Reason
	}
	return e
}
