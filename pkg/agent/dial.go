package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	grpcstats "google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// restTransport gives the HTTP client of a REST control plane.
func (a *Agent) restTransport(name string) (http.RoundTripper, error) {
	c := a.clusters.Get(name)
	if c == nil {
		return nil, fmt.Errorf("unknown cluster %s", name)
	}
	a.channels.mu.Lock()
	defer a.channels.mu.Unlock()
	if t := a.channels.rest[name]; t != nil {
		return t, nil
	}
	alpn, protocols := "http/1.1", new(http.Protocols)
	if c.Config().HTTP.Protocol == model.UpstreamHTTP2 {
		alpn = "h2"
		protocols.SetUnencryptedHTTP2(true) // the cluster's transport socket encrypts
	} else {
		protocols.SetHTTP1(true)
	}
	t := &http.Transport{
		Protocols: protocols, DisableCompression: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: c.Config().IdleTimeout,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dialCluster(ctx, name, alpn) },
	}
	a.channels.rest[name] = t
	return t, nil
}

// dialCluster connects to a host of a cluster.
func (a *Agent) dialCluster(ctx context.Context, name, alpn string) (net.Conn, error) {
	c := a.clusters.Get(name)
	if c == nil {
		return nil, fmt.Errorf("unknown cluster %s", name)
	}
	lease, err := c.DialFor(ctx, &upstream.PickContext{}, []string{alpn})
	if err != nil {
		return nil, err
	}
	return &leased{lease.Conn, lease.Close}, nil
}

// leased gives a connection's place in its cluster back when it is closed.
type leased struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (l *leased) Close() error {
	l.release()
	return nil
}

// markSocket keeps the kernel from capturing a connection of weir's own. Without the privilege to mark, weir captures
// nothing that it could be taken for.
func (a *Agent) markSocket(_ context.Context, network, _ string, raw syscall.RawConn) error {
	mark := int(a.capture.mark())
	if mark == 0 || network == "unix" {
		return nil
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) }); err != nil {
		return err
	}
	if failed != nil && !errors.Is(failed, unix.EPERM) {
		return fmt.Errorf("set SO_MARK %#x: %w", mark, failed)
	}
	return nil
}

// googleTLS is the TLS configuration of ssl_credentials.
func googleTLS(g *model.GoogleGRPC) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: g.ServerName, MinVersion: tls.VersionTLS12}
	if g.Roots != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(g.Roots)) {
			return nil, errors.New("load root_certs: there is no certificate in PEM")
		}
	}
	if g.CertChain != "" {
		pair, err := tls.X509KeyPair([]byte(g.CertChain), []byte(g.PrivateKey))
		if err != nil {
			return nil, fmt.Errorf("load cert_chain and private_key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// bearer sends a token with every call.
type bearer struct {
	token  string
	secure bool
}

var _ credentials.PerRPCCredentials = bearer{}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. Local connections need none.
func (b bearer) RequireTransportSecurity() bool { return b.secure }

// streamStats counts the streams of a google_grpc service: streams_total and streams_closed_CODE.
type streamStats struct{ scope *stats.Scope }

var _ grpcstats.Handler = (*streamStats)(nil)

// TagRPC implements stats.Handler.
func (*streamStats) TagRPC(ctx context.Context, _ *grpcstats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (s *streamStats) HandleRPC(_ context.Context, e grpcstats.RPCStats) {
	switch e := e.(type) {
	case *grpcstats.Begin:
		s.scope.Counter("streams_total").Inc()
	case *grpcstats.End:
		s.scope.Counter("streams_closed_" + strconv.Itoa(int(status.Code(e.Error)))).Inc()
	}
}

// TagConn implements stats.Handler.
func (*streamStats) TagConn(ctx context.Context, _ *grpcstats.ConnTagInfo) context.Context {
	return ctx
}

// HandleConn implements stats.Handler.
func (*streamStats) HandleConn(context.Context, grpcstats.ConnStats) {}
