package translate

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestGoogleGRPCReadsItsCredentials(t *testing.T) {
	file := func(name string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
	}
	c := testTranslator(t).begin(&corev3.GrpcService{}, Meta{}, "")
	c.errs = nil // an empty service has no target
	out, ok := c.grpcService(&corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: &corev3.GrpcService_GoogleGrpc{
		TargetUri: "control.test:443", StatPrefix: "control",
		ChannelCredentials: &corev3.GrpcService_GoogleGrpc_ChannelCredentials{CredentialSpecifier: &corev3.GrpcService_GoogleGrpc_ChannelCredentials_SslCredentials{
			SslCredentials: &corev3.GrpcService_GoogleGrpc_SslCredentials{RootCerts: file("ca.pem"), CertChain: file("cert.pem"), PrivateKey: file("key.pem")},
		}},
	}}}, nil)
	if !ok || len(c.errs) != 0 {
		t.Fatalf("errors: %v", c.errs)
	}
	g := out.Google
	if !g.TLS || g.Roots == "" || g.CertChain == "" || g.PrivateKey == "" || out.Name() != "control.test:443" {
		t.Errorf("service = %+v", out)
	}
}

func TestBackOffDefaultsToTenTimesTheBase(t *testing.T) {
	c := testTranslator(t).begin(&corev3.RetryPolicy{}, Meta{}, "")
	out := model.GRPCService{BackOffBase: defaultBackOffBase, BackOffMax: defaultBackOffMax}
	c.backOff(&corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{}}, &out, nil)
	if out.BackOffBase != defaultBackOffBase || out.BackOffMax != 10*defaultBackOffBase {
		t.Errorf("back-off %v .. %v", out.BackOffBase, out.BackOffMax)
	}
}
