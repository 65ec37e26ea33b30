package tlsctx

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// authority signs test certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{t: t, cert: cert, key: key, pool: pool}
}

type certOptions struct {
	names   []string
	uris    []string
	cn      string
	expired bool
	rsa     bool
	usage   x509.KeyUsage // of an RSA key; 0 for all that TLS needs
}

func (a *authority) issue(o certOptions) *tls.Certificate {
	a.t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: o.cn}, DNSNames: o.names,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if o.expired {
		tmpl.NotAfter = time.Now().Add(-time.Hour)
	}
	for _, u := range o.uris {
		parsed, _ := url.Parse(u)
		tmpl.URIs = append(tmpl.URIs, parsed)
	}
	out := &tls.Certificate{}
	if o.rsa {
		k, _ := rsa.GenerateKey(rand.Reader, 2048)
		tmpl.KeyUsage = cmp.Or(o.usage, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment)
		out.PrivateKey = k
		der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, k.Public(), a.key)
		if err != nil {
			a.t.Fatal(err)
		}
		out.Certificate = [][]byte{der}
	} else {
		k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		out.PrivateKey = k
		der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, k.Public(), a.key)
		if err != nil {
			a.t.Fatal(err)
		}
		out.Certificate = [][]byte{der}
	}
	out.Leaf, _ = x509.ParseCertificate(out.Certificate[0])
	return out
}

func inline(certs ...*tls.Certificate) []model.CertificateRef {
	var refs []model.CertificateRef
	for _, c := range certs {
		refs = append(refs, model.CertificateRef{Inline: c})
	}
	return refs
}

// fakeSecrets can be changed while in use.
type fakeSecrets struct {
	mu sync.Mutex
	m  map[string]*model.Secret
}

func (f *fakeSecrets) Secret(name string) *model.Secret {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m[name]
}

func (f *fakeSecrets) set(name string, s *model.Secret) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m[name] = s
}

// sockets gives two connected TCP sockets.
func sockets(t testing.TB) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// result is what both sides of a handshake came to.
type result struct {
	server, client       *tls.Conn
	serverErr, clientErr error
}

// handshake runs both sides. The client is read from once, since TLS 1.3 tells it only then what the server thought.
func handshake(t testing.TB, s *Server, client func(net.Conn) (*tls.Conn, error)) result {
	t.Helper()
	sc, cc := sockets(t)
	var r result
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r.server, r.serverErr = s.Handshake(t.Context(), sc); r.serverErr != nil {
			sc.Close()
			return
		}
		r.server.Write([]byte("k"))
	}()
	if r.client, r.clientErr = client(cc); r.clientErr == nil {
		_, r.clientErr = io.ReadFull(r.client, make([]byte, 1))
	} else {
		cc.Close()
	}
	<-done
	return r
}

func stdClient(cfg *tls.Config) func(net.Conn) (*tls.Conn, error) {
	cfg.InsecureSkipVerify = true
	return func(nc net.Conn) (*tls.Conn, error) {
		c := tls.Client(nc, cfg)
		return c, c.Handshake()
	}
}

func value(st *stats.Store, name string) uint64 { return st.Root().Counter(name).Value() }

func TestServerCertificateBySNI(t *testing.T) {
	ca := newAuthority(t)
	first := ca.issue(certOptions{names: []string{"first.test"}})
	exact := ca.issue(certOptions{names: []string{"a.shop.test"}})
	wild := ca.issue(certOptions{names: []string{"*.shop.test"}})
	byCN := ca.issue(certOptions{cn: "old.test"})
	rsaCert := ca.issue(certOptions{names: []string{"both.test"}, rsa: true})
	ecCert := ca.issue(certOptions{names: []string{"both.test"}})
	st := stats.NewStore()
	s := NewServer(&model.DownstreamTLS{TLSParams: model.TLSParams{
		Certificates: inline(first, exact, wild, byCN, rsaCert, ecCert),
	}}, nil, st.Root())
	cases := []struct {
		name   string
		config *tls.Config
		want   *tls.Certificate
	}{
		{"exact", &tls.Config{ServerName: "a.shop.test"}, exact},
		{"case does not matter", &tls.Config{ServerName: "A.Shop.test"}, exact},
		{"wildcard", &tls.Config{ServerName: "b.shop.test"}, wild},
		{"wildcard is one label", &tls.Config{ServerName: "x.b.shop.test"}, first},
		{"wildcard needs a label", &tls.Config{ServerName: "shop.test"}, first},
		{"common name", &tls.Config{ServerName: "old.test"}, byCN},
		{"unknown", &tls.Config{ServerName: "other.test"}, first},
		{"no SNI", &tls.Config{}, first},
		{"ecdsa before rsa", &tls.Config{ServerName: "both.test"}, ecCert},
		{"rsa for who has only that", &tls.Config{
			ServerName: "both.test", MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		}, rsaCert},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			r := handshake(t, s, stdClient(tc.config))
			if r.clientErr != nil || r.serverErr != nil {
				t.Fatal(r.clientErr, r.serverErr)
			}
			if !r.client.ConnectionState().PeerCertificates[0].Equal(tc.want.Leaf) {
				t.Errorf("got the certificate for %v", r.client.ConnectionState().PeerCertificates[0].DNSNames)
			}
		})
	}
	for name, want := range map[string]uint64{
		"ssl.handshake": 10, "ssl.no_certificate": 10, "ssl.versions.TLSv1.3": 9, "ssl.versions.TLSv1.2": 1,
		"ssl.ciphers.ECDHE-RSA-AES128-GCM-SHA256": 1,
	} {
		if got := value(st, name); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}

func TestServerALPNAndVersions(t *testing.T) {
	ca := newAuthority(t)
	certs := inline(ca.issue(certOptions{names: []string{"a.test"}}))
	cases := []struct {
		name     string
		params   model.TLSParams
		client   *tls.Config
		wantALPN string
		wantErr  string // part of the reason
	}{
		{"ours decides", model.TLSParams{ALPN: []string{"h2", "http/1.1"}}, &tls.Config{NextProtos: []string{"http/1.1", "h2"}}, "h2", ""},
		{"no overlap goes on", model.TLSParams{ALPN: []string{"h2"}}, &tls.Config{NextProtos: []string{"istio"}}, "", ""},
		{"none configured", model.TLSParams{}, &tls.Config{NextProtos: []string{"h2"}}, "", ""},
		{"1.1 is refused", model.TLSParams{}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "", "UNSUPPORTED_PROTOCOL"},
		{"minimum 1.3", model.TLSParams{MinVersion: tls.VersionTLS13}, &tls.Config{MaxVersion: tls.VersionTLS12}, "", "UNSUPPORTED_PROTOCOL"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			tc.params.Certificates = certs
			s := NewServer(&model.DownstreamTLS{TLSParams: tc.params}, nil, stats.NewStore().Root())
			r := handshake(t, s, stdClient(tc.client))
			if tc.wantErr != "" {
				if !strings.Contains(FailureReason(r.serverErr), tc.wantErr) {
					t.Errorf("reason %q, error %v", FailureReason(r.serverErr), r.serverErr)
				}
				return
			}
			if r.clientErr != nil || r.client.ConnectionState().NegotiatedProtocol != tc.wantALPN {
				t.Errorf("%v, ALPN %q", r.clientErr, r.client.ConnectionState().NegotiatedProtocol)
			}
		})
	}
}

func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.issue(certOptions{names: []string{"client.test"}, uris: []string{"spiffe://td/ns/a"}})
	old := ca.issue(certOptions{names: []string{"client.test"}, expired: true})
	alien := other.issue(certOptions{names: []string{"client.test"}})
	leafHash := sha256.Sum256(good.Leaf.Raw)
	spki := sha256.Sum256(good.Leaf.RawSubjectPublicKeyInfo)
	sanURI := func(kind model.MatchKind, v string) []model.SANMatcher {
		return []model.SANMatcher{{Kind: model.SANURI, Match: model.StringMatcher{Kind: kind, Value: v, Regex: regexp.MustCompile(v)}}}
	}
	cases := []struct {
		name       string
		validation *model.Validation
		require    bool
		cert       *tls.Certificate
		fail       string // the counter that tells; "" when accepted
		reason     string
	}{
		{"trusted", &model.Validation{Roots: ca.pool}, true, good, "", ""},
		{"none, optional", &model.Validation{Roots: ca.pool}, false, nil, "", ""},
		{"none, required", &model.Validation{Roots: ca.pool}, true, nil, "fail_verify_no_cert", "PEER_DID_NOT_RETURN_A_CERTIFICATE"},
		{"untrusted", &model.Validation{Roots: ca.pool}, false, alien, "fail_verify_error", "unable to get local issuer certificate"},
		{"untrusted accepted", &model.Validation{Roots: ca.pool, AcceptUntrusted: true}, true, alien, "", ""},
		{"expired", &model.Validation{Roots: ca.pool}, true, old, "fail_verify_error", "certificate has expired"},
		{"expired allowed", &model.Validation{Roots: ca.pool, AllowExpired: true}, true, old, "", ""},
		{"expired allowed is not untrusted allowed", &model.Validation{Roots: ca.pool, AllowExpired: true}, true, alien, "fail_verify_error", "CERTIFICATE_VERIFY_FAILED"},
		{"san", &model.Validation{Roots: ca.pool, SANs: sanURI(model.MatchPrefix, "spiffe://td/")}, true, good, "", ""},
		{"san regex is whole", &model.Validation{Roots: ca.pool, SANs: sanURI(model.MatchRegex, "spiffe://td/ns")}, true, good, "fail_verify_san", "SAN matcher"},
		{"san mismatch", &model.Validation{Roots: ca.pool, SANs: sanURI(model.MatchExact, "spiffe://td/ns/b")}, true, good, "fail_verify_san", "SAN matcher"},
		{"hash alone", &model.Validation{CertificateHashes: []string{hex.EncodeToString(leafHash[:])}}, true, good, "", ""},
		{"spki or hash", &model.Validation{CertificateHashes: []string{"00"}, SPKIHashes: []string{base64.StdEncoding.EncodeToString(spki[:])}}, true, good, "", ""},
		{"hash mismatch", &model.Validation{CertificateHashes: []string{"00"}}, true, good, "fail_verify_cert_hash", "cert hash and spki"},
		{"no validation, required", nil, true, alien, "", ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			cfg := &model.DownstreamTLS{RequireClientCertificate: tc.require}
			cfg.Certificates = inline(ca.issue(certOptions{names: []string{"a.test"}}))
			if tc.validation != nil {
				cfg.Validation = &model.ValidationRef{Inline: tc.validation}
			}
			st := stats.NewStore()
			s := NewServer(cfg, nil, st.Root())
			up := &model.UpstreamTLS{TLSParams: model.TLSParams{MaxVersion: tls.VersionTLS13}}
			if tc.cert != nil {
				up.Certificates = inline(tc.cert)
			}
			client := NewClient(up, nil, stats.NewStore().Root())
			r := handshake(t, s, func(nc net.Conn) (*tls.Conn, error) {
				return client.Handshake(t.Context(), nc, HandshakeOptions{})
			})
			if tc.fail == "" {
				if r.serverErr != nil || r.clientErr != nil {
					t.Fatal(r.serverErr, r.clientErr)
				}
				return
			}
			if got := value(st, "ssl."+tc.fail); got != 1 || value(st, "ssl.handshake") != 0 || value(st, "ssl.connection_error") != 0 {
				t.Errorf("%s = %d", tc.fail, got)
			}
			if !strings.Contains(FailureReason(r.serverErr), tc.reason) || !strings.HasPrefix(FailureReason(r.serverErr), "TLS_error:|") {
				t.Errorf("reason %q, want %q in it", FailureReason(r.serverErr), tc.reason)
			}
			if r.clientErr == nil {
				t.Error("the client was served")
			}
		})
	}
}

func TestUpstreamVerification(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cert := ca.issue(certOptions{names: []string{"*.shop.test"}})
	dns := func(v string) []model.SANMatcher {
		return []model.SANMatcher{{Kind: model.SANDNS, Match: model.StringMatcher{Value: v}}}
	}
	cases := []struct {
		name   string
		cfg    model.UpstreamTLS
		v      *model.Validation
		opts   HandshakeOptions
		reason string
	}{
		{"nothing verified without validation", model.UpstreamTLS{}, nil, HandshakeOptions{}, ""},
		{"trusted, whatever the name", model.UpstreamTLS{SNI: "evil.test"}, &model.Validation{Roots: ca.pool}, HandshakeOptions{}, ""},
		{"untrusted", model.UpstreamTLS{}, &model.Validation{Roots: other.pool}, HandshakeOptions{}, "verify cert failed"},
		{"san over wildcard", model.UpstreamTLS{}, &model.Validation{Roots: ca.pool, SANs: dns("a.shop.test")}, HandshakeOptions{}, ""},
		{"san mismatch", model.UpstreamTLS{}, &model.Validation{Roots: ca.pool, SANs: dns("a.b.shop.test")}, HandshakeOptions{}, "SAN matcher"},
		{"auto san", model.UpstreamTLS{AutoSAN: true}, &model.Validation{Roots: ca.pool}, HandshakeOptions{ServerName: "x.shop.test"}, ""},
		{"auto san mismatch", model.UpstreamTLS{AutoSAN: true}, &model.Validation{Roots: ca.pool}, HandshakeOptions{ServerName: "x.test"}, "SAN matcher"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := NewServer(&model.DownstreamTLS{TLSParams: model.TLSParams{Certificates: inline(cert), ALPN: []string{"h2", "http/1.1"}}}, nil, stats.NewStore().Root())
			if tc.v != nil {
				tc.cfg.Validation = &model.ValidationRef{Inline: tc.v}
			}
			tc.cfg.ALPN = []string{"h2"}
			st := stats.NewStore()
			client := NewClient(&tc.cfg, nil, st.Root())
			r := handshake(t, s, func(nc net.Conn) (*tls.Conn, error) { return client.Handshake(t.Context(), nc, tc.opts) })
			if got := FailureReason(r.clientErr); (tc.reason == "") != (got == "") || !strings.Contains(got, tc.reason) {
				t.Fatalf("reason %q, want %q", got, tc.reason)
			}
			if tc.reason != "" {
				if !strings.Contains(FailureReason(r.serverErr), "ALERT_BAD_CERTIFICATE") {
					t.Errorf("the server says %q", FailureReason(r.serverErr))
				}
				return
			}
			cs := r.server.ConnectionState()
			want := tc.cfg.SNI
			if tc.opts.ServerName != "" {
				want = tc.opts.ServerName
			}
			if cs.ServerName != want || cs.NegotiatedProtocol != "h2" || cs.Version != tls.VersionTLS12 {
				t.Errorf("SNI %q, ALPN %q, version %x", cs.ServerName, cs.NegotiatedProtocol, cs.Version)
			}
		})
	}
}

func TestSecretRotation(t *testing.T) {
	ca := newAuthority(t)
	one, two := ca.issue(certOptions{names: []string{"one.test"}}), ca.issue(certOptions{names: []string{"two.test"}})
	secrets := &fakeSecrets{m: map[string]*model.Secret{}}
	st := stats.NewStore()
	s := NewServer(&model.DownstreamTLS{TLSParams: model.TLSParams{Certificates: []model.CertificateRef{{Secret: "cert"}}}}, secrets, st.Root())
	r := handshake(t, s, stdClient(&tls.Config{}))
	if !errors.Is(r.serverErr, ErrSecretMissing) || value(st, "server_ssl_socket_factory.downstream_context_secrets_not_ready") != 1 {
		t.Fatalf("without secret: %v", r.serverErr)
	}
	secrets.set("cert", &model.Secret{Certificate: one})
	first := handshake(t, s, stdClient(&tls.Config{}))
	built := s.built.Load()
	handshake(t, s, stdClient(&tls.Config{}))
	if s.built.Load() != built {
		t.Error("the configuration was built again for the same secret")
	}
	secrets.set("cert", &model.Secret{Certificate: two})
	second := handshake(t, s, stdClient(&tls.Config{}))
	for i, want := range []*tls.Certificate{one, two} {
		if r := []result{first, second}[i]; r.clientErr != nil || !r.client.ConnectionState().PeerCertificates[0].Equal(want.Leaf) {
			t.Errorf("handshake %d: %v", i, r.clientErr)
		}
	}
	first.server.Write([]byte("z"))
	if _, err := io.ReadFull(first.client, make([]byte, 1)); err != nil {
		t.Errorf("the connection of the old secret: %v", err)
	}
}

func TestSessionResumption(t *testing.T) {
	ca := newAuthority(t)
	for _, tickets := range []bool{true, false} {
		s := NewServer(&model.DownstreamTLS{
			TLSParams:      model.TLSParams{Certificates: inline(ca.issue(certOptions{names: []string{"a.test"}}))},
			SessionTickets: tickets,
		}, nil, stats.NewStore().Root())
		st := stats.NewStore()
		client := NewClient(&model.UpstreamTLS{SNI: "a.test"}, nil, st.Root())
		for range 3 {
			r := handshake(t, s, func(nc net.Conn) (*tls.Conn, error) { return client.Handshake(t.Context(), nc, HandshakeOptions{}) })
			if r.clientErr != nil {
				t.Fatal(r.clientErr)
			}
		}
		want := uint64(0)
		if tickets {
			want = 2
		}
		if got := value(st, "ssl.session_reused"); got != want {
			t.Errorf("tickets %v: session_reused = %d, want %d", tickets, got, want)
		}
	}
}

func TestSessionKeys(t *testing.T) {
	ca := newAuthority(t)
	s := NewServer(&model.DownstreamTLS{
		TLSParams: model.TLSParams{Certificates: inline(ca.issue(certOptions{names: []string{"a.test", "b.test"}}))}, SessionTickets: true,
	}, nil, stats.NewStore().Root())
	for keys, want := range map[int]uint64{0: 2, 2: 2, 1: 0, -1: 0} {
		st := stats.NewStore()
		client := NewClient(&model.UpstreamTLS{SessionKeys: keys}, nil, st.Root())
		for _, name := range []string{"a.test", "b.test", "a.test", "b.test"} {
			r := handshake(t, s, func(nc net.Conn) (*tls.Conn, error) {
				return client.Handshake(t.Context(), nc, HandshakeOptions{ServerName: name})
			})
			if r.clientErr != nil {
				t.Fatal(r.clientErr)
			}
		}
		if got := value(st, "ssl.session_reused"); got != want {
			t.Errorf("%d session keys: session_reused = %d, want %d", keys, got, want)
		}
	}
}

func TestHandshakeFailures(t *testing.T) {
	ca := newAuthority(t)
	s := NewServer(&model.DownstreamTLS{TLSParams: model.TLSParams{Certificates: inline(ca.issue(certOptions{}))}}, nil, stats.NewStore().Root())
	cases := []struct{ name, sent, reason string }{
		{"http", "GET / HTTP/1.1\r\n\r\n", "HTTP_REQUEST"},
		{"garbage", "hello there", "WRONG_VERSION_NUMBER"},
		{"silence", "", "EOF"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sc, cc := sockets(t)
			cc.Write([]byte(tc.sent))
			cc.(*net.TCPConn).CloseWrite()
			if _, err := s.Handshake(t.Context(), sc); !strings.Contains(FailureReason(err), tc.reason) {
				t.Errorf("reason %q, want %q in it", FailureReason(err), tc.reason)
			}
		})
	}
	t.Run("timeout", func(t *testing.T) {
		sc, _ := sockets(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := s.Handshake(ctx, sc); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCipherNames(t *testing.T) {
	for id, want := range map[uint16]string{
		tls.TLS_AES_128_GCM_SHA256:                        "TLS_AES_128_GCM_SHA256",
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:       "ECDHE-ECDSA-AES256-GCM-SHA384",
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   "ECDHE-RSA-CHACHA20-POLY1305",
		tls.TLS_RSA_WITH_AES_128_CBC_SHA:                  "AES128-SHA",
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:          "ECDHE-ECDSA-AES128-SHA",
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
	} {
		if got := cipherName(id); got != want {
			t.Errorf("cipherName(%x) = %q, want %q", id, got, want)
		}
	}
}

// TestSecretsTakenUp counts the sets of secrets that handshakes were made with, on both sides.
func TestSecretsTakenUp(t *testing.T) {
	ca := newAuthority(t)
	one, two := ca.issue(certOptions{names: []string{"one.test"}}), ca.issue(certOptions{names: []string{"two.test"}})
	sds := &model.Source{}
	for name, source := range map[string]*model.Source{"by SDS": sds, "static": nil} {
		t.Run(name, func(t *testing.T) {
			secrets := &fakeSecrets{m: map[string]*model.Secret{}}
			st := stats.NewStore()
			params := model.TLSParams{Certificates: []model.CertificateRef{{Secret: "cert", Source: source}}}
			s := NewServer(&model.DownstreamTLS{TLSParams: params}, secrets, st.Root())
			c := NewClient(&model.UpstreamTLS{TLSParams: params, SNI: "one.test"}, secrets, st.Root())
			dial := func(nc net.Conn) (*tls.Conn, error) { return c.Handshake(t.Context(), nc, HandshakeOptions{}) }
			handshake(t, s, dial)
			for i, cert := range []*tls.Certificate{one, two} {
				secrets.set("cert", &model.Secret{Certificate: cert})
				for range 2 {
					if r := handshake(t, s, dial); r.serverErr != nil || r.clientErr != nil {
						t.Fatal(r.serverErr, r.clientErr)
					}
				}
				want := uint64(0)
				if source != nil {
					want = uint64(i) + 1
				}
				for _, side := range []string{"server", "client"} {
					if got := value(st, side+"_ssl_socket_factory.ssl_context_update_by_sds"); got != want {
						t.Errorf("after secret %d: %s took up %d, want %d", i, side, got, want)
					}
				}
			}
			for side, stat := range map[string]string{"server": "downstream", "client": "upstream"} {
				if got := value(st, side+"_ssl_socket_factory."+stat+"_context_secrets_not_ready"); got != 1 {
					t.Errorf("%s: not ready %d times", side, got)
				}
			}
		})
	}
}
