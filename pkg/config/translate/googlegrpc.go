package translate

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// googleService translates a gRPC service that is reached without a cluster.
func (c *call) googleService(g *corev3.GrpcService_GoogleGrpc, out *model.GRPCService, p *path) {
	out.Google = model.GoogleGRPC{Target: g.GetTargetUri(), StatPrefix: g.GetStatPrefix()}
	c.target(g.GetTargetUri(), p.field("target_uri"))
	if g.GetCredentialsFactoryName() != "" {
		c.fail(p.field("credentials_factory_name"), "there is no credentials factory %q: weir has the built-in one only", g.GetCredentialsFactoryName())
	}
	c.channelCredentials(g.GetChannelCredentials(), &out.Google, p.field("channel_credentials"))
	local := g.GetChannelCredentials().GetLocalCredentials() != nil
	for i, one := range g.GetCallCredentials() {
		c.callCredentials(one, &out.Google, local, p.elem("call_credentials", i))
	}
	for _, name := range slices.Sorted(maps.Keys(g.GetChannelArgs().GetArgs())) {
		c.channelArg(name, g.GetChannelArgs().GetArgs()[name], out, p.field("channel_args"))
	}
}

// target checks a gRPC name.
func (c *call) target(target string, p *path) {
	scheme, rest, found := strings.Cut(target, ":")
	switch {
	case target == "": // validation has reported it
	case found && (scheme == "ipv4" || scheme == "ipv6"):
		for one := range strings.SplitSeq(rest, ",") {
			if a, err := netip.ParseAddrPort(one); err != nil || a.Addr().Is4() != (scheme == "ipv4") {
				c.fail(p, "%q is no address with port of %s", one, scheme)
			}
		}
	case found && strings.HasPrefix(rest, "//") && scheme != "dns" && scheme != "unix":
		c.fail(p, "names of scheme %q are not supported: use dns, ipv4, ipv6 or unix", scheme)
	}
}

func (c *call) channelCredentials(m *corev3.GrpcService_GoogleGrpc_ChannelCredentials, out *model.GoogleGRPC, p *path) {
	switch k := m.GetCredentialSpecifier().(type) {
	case *corev3.GrpcService_GoogleGrpc_ChannelCredentials_SslCredentials:
		out.TLS = true
		at := p.field("ssl_credentials")
		out.Roots = c.pem(k.SslCredentials.GetRootCerts(), at.field("root_certs"))
		out.CertChain = c.pem(k.SslCredentials.GetCertChain(), at.field("cert_chain"))
		out.PrivateKey = c.pem(k.SslCredentials.GetPrivateKey(), at.field("private_key"))
		c.checkTLS(out, at)
	case *corev3.GrpcService_GoogleGrpc_ChannelCredentials_GoogleDefault:
		c.fail(p.field("google_default"), "Google's application default credentials are not supported: use ssl_credentials")
	}
}

// checkTLS tells at load what would fail every handshake.
func (c *call) checkTLS(out *model.GoogleGRPC, p *path) {
	if out.Roots != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(out.Roots)) {
		c.fail(p.field("root_certs"), "holds no certificate in PEM")
	}
	if (out.CertChain == "") != (out.PrivateKey == "") {
		c.fail(p, "cert_chain and private_key must be set together")
		return
	}
	if out.CertChain == "" {
		return
	}
	if _, err := tls.X509KeyPair([]byte(out.CertChain), []byte(out.PrivateKey)); err != nil {
		c.fail(p.field("cert_chain"), "load certificate and key: %v", err)
	}
}

// pem reads an optional data source.
func (c *call) pem(d *corev3.DataSource, p *path) string {
	if d == nil {
		return ""
	}
	b, _, _ := c.data(d, p)
	return string(b)
}

func (c *call) callCredentials(m *corev3.GrpcService_GoogleGrpc_CallCredentials, out *model.GoogleGRPC, local bool, p *path) {
	k, ok := m.GetCredentialSpecifier().(*corev3.GrpcService_GoogleGrpc_CallCredentials_AccessToken)
	switch {
	case m.GetCredentialSpecifier() == nil: // validation has reported it
	case !ok:
		c.fail(p.field(specifier(m)), "is not supported: use access_token")
	case out.AccessToken != "":
		c.fail(p.field("access_token"), "there is one already")
	case !out.TLS && !local:
		c.fail(p.field("access_token"), "a token needs channel_credentials: it would be sent in clear text")
	case !printable(k.AccessToken):
		c.fail(p.field("access_token"), "must be printable and not empty")
	default:
		out.AccessToken = k.AccessToken
	}
}

// specifier is the name of the credentials that are set.
func specifier(m *corev3.GrpcService_GoogleGrpc_CallCredentials) string {
	r := m.ProtoReflect()
	return string(r.WhichOneof(r.Descriptor().Oneofs().ByName("credential_specifier")).Name())
}

// printable tells what a header value may hold, of the characters of a token.
func printable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// channelArg takes the arguments of a gRPC channel that mean something to weir's. Others are named in a warning.
func (c *call) channelArg(name string, v *corev3.GrpcService_GoogleGrpc_ChannelArgs_Value, out *model.GRPCService, p *path) {
	n, text := v.GetIntValue(), v.GetStringValue()
	ms := time.Duration(min(max(n, 0), math.MaxInt32)) * time.Millisecond
	switch name {
	case "grpc.keepalive_time_ms":
		out.Google.KeepaliveTime = ms
	case "grpc.keepalive_timeout_ms":
		out.Google.KeepaliveTimeout = ms
	case "grpc.keepalive_permit_without_calls":
		out.Google.KeepaliveIdle = n != 0
	case "grpc.initial_reconnect_backoff_ms":
		out.BackOffBase = max(ms, time.Millisecond)
		out.BackOffMax = max(out.BackOffMax, out.BackOffBase)
	case "grpc.max_reconnect_backoff_ms":
		out.BackOffMax = max(ms, out.BackOffBase)
	case "grpc.max_receive_message_length":
		out.MaxReceiveMessageLength = uint32(min(max(n, 0), math.MaxInt32)) // -1 is unlimited
	case "grpc.default_authority":
		out.Authority = text
	case "grpc.ssl_target_name_override":
		out.Google.ServerName = text
	default:
		c.warn(p.entry("args", name), "this channel argument has no effect")
	}
}
