package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// handshake connects to a TLS listener on the host and returns the connection, closed with the test.
func handshake(t *testing.T, host *harness.Host, addr string, config *tls.Config) (*tls.Conn, error) {
	t.Helper()
	conn := tls.Client(host.MustDial(addr), config)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		return nil, err
	}
	return conn, nil
}

// mustHandshake is handshake with a name, trusting the CA.
func mustHandshake(t *testing.T, host *harness.Host, ca *harness.CA, addr, name string, protocols ...string) *tls.Conn {
	t.Helper()
	conn, err := handshake(t, host, addr, &tls.Config{RootCAs: ca.Pool, ServerName: name, NextProtos: protocols})
	if err != nil {
		t.Fatalf("handshake with %s as %s: %v", addr, name, err)
	}
	return conn
}

func serial(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].SerialNumber.String() }

// get asks over HTTP/1.1 on a connection that stays open.
func get(t *testing.T, conn io.ReadWriter, path string) (*http.Response, string) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nhost: shop.test\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, strings.TrimSpace(string(body))
}

func TestDownstreamTLS(t *testing.T) {
	t.Parallel()
	host, ca := harness.NewHost(t), harness.NewCA(t)
	one, two := ca.Issue("one.test"), ca.Issue("two.test", "*.two.test")
	first, second := host.HTTPBackend("first", "127.0.0.1:0"), host.HTTPBackend("second", "127.0.0.1:0")
	alpn := `alpn_protocols: [h2, "http/1.1"]`
	listeners := []string{
		// Two certificates in one context, chosen by SNI.
		harness.Listener{Name: "certificates", Address: "127.0.0.1:8443", Chains: []string{
			harness.Chain(harness.HTTP(harness.RouteTo("/", "first")), harness.DownstreamTLS(harness.Certificates(one, two)+", "+alpn)),
		}}.YAML(),
		// Two chains, chosen by SNI.
		harness.Listener{Name: "chains", Address: "127.0.0.1:8444", InspectTLS: true, Chains: []string{
			harness.Chain(harness.HTTP(harness.RouteTo("/", "first")), `filter_chain_match: {server_names: [one.test]}`, harness.DownstreamTLS(harness.Certificates(one))),
			harness.Chain(harness.HTTP(harness.RouteTo("/", "second")), `filter_chain_match: {server_names: ["*.two.test"]}`, harness.DownstreamTLS(harness.Certificates(two))),
		}}.YAML(),
		harness.Listener{Name: "mutual", Address: "127.0.0.1:8445", Chains: []string{
			harness.Chain(harness.HTTP(harness.RouteTo("/", "first")), harness.DownstreamTLS(harness.Certificates(one)+", "+ca.Trust(), "require_client_certificate: true")),
		}}.YAML(),
	}
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: listeners,
		Clusters:  []string{harness.Cluster("first", harness.To(first.Addr)), harness.Cluster("second", harness.To(second.Addr))},
	}.YAML()})

	t.Run("certificate by SNI", func(t *testing.T) {
		for name, want := range map[string]string{"one.test": one.Serial, "two.test": two.Serial, "a.two.test": two.Serial} {
			if got := serial(mustHandshake(t, host, ca, "127.0.0.1:8443", name)); got != want {
				t.Errorf("%s: another certificate", name)
			}
		}
	})
	t.Run("chain by SNI", func(t *testing.T) {
		for name, want := range map[string]string{"one.test": "first", "b.two.test": "second"} {
			if _, body := get(t, mustHandshake(t, host, ca, "127.0.0.1:8444", name), "/"); body != want {
				t.Errorf("%s: got %q, want %q", name, body, want)
			}
		}
		if _, err := handshake(t, host, "127.0.0.1:8444", &tls.Config{RootCAs: ca.Pool, ServerName: "three.test"}); err == nil {
			t.Error("a name that no chain is for was served")
		}
		weir.AwaitStat("listener.127.0.0.1_8444.no_filter_chain_match", func(n int) bool { return n == 1 })
	})
	t.Run("ALPN", func(t *testing.T) {
		for _, want := range []string{"h2", "http/1.1"} {
			if got := mustHandshake(t, host, ca, "127.0.0.1:8443", "one.test", want).ConnectionState().NegotiatedProtocol; got != want {
				t.Errorf("negotiated %q, want %q", got, want)
			}
		}
		file := filepath.Join(harness.Dir(t), "ca.pem")
		harness.WriteFile(t, file, ca.PEM)
		for flag, want := range map[string]string{"--http2": "2", "--http1.1": "1.1"} {
			got := host.App().Curl(flag, "--cacert", file, "--resolve", "one.test:8443:127.0.0.1", "-w", "%{http_version}", "https://one.test:8443/")
			wantOK(t, got, "first\n"+want)
		}
	})
	t.Run("client certificate", func(t *testing.T) {
		clients := map[string]struct {
			certificates []tls.Certificate
			want         bool
		}{
			"none": {nil, false}, "of the CA": {[]tls.Certificate{ca.Issue("client").TLS}, true},
			"of another CA": {[]tls.Certificate{harness.NewCA(t).Issue("client").TLS}, false},
		}
		for name, c := range clients {
			config := &tls.Config{RootCAs: ca.Pool, ServerName: "one.test", Certificates: c.certificates}
			conn, err := handshake(t, host, "127.0.0.1:8445", config)
			if err == nil { // TLS 1.3 tells a client of its refusal after its own end of the handshake
				_, err = fmt.Fprint(conn, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
				if err == nil {
					_, err = io.ReadAll(conn)
				}
			}
			if (err == nil) != c.want {
				t.Errorf("certificate %s: %v", name, err)
			}
		}
		weir.AwaitStat("listener.127.0.0.1_8445.ssl.fail_verify_no_cert", func(n int) bool { return n == 1 })
		weir.AwaitStat("listener.127.0.0.1_8445.ssl.fail_verify_error", func(n int) bool { return n == 1 })
	})
}

func TestUpstreamTLS(t *testing.T) {
	t.Parallel()
	host, ca, other := harness.NewHost(t), harness.NewCA(t), harness.NewCA(t)
	client := ca.Issue("weir")
	config := ca.Issue("backend.test").Server("h2", "http/1.1")
	backend := host.HTTPBackend("secure", "127.0.0.1:0", harness.WithTLS(config))
	strict := ca.Issue("backend.test").Server("http/1.1")
	strict.ClientAuth, strict.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool
	mutual := host.HTTPBackend("mutual", "127.0.0.1:0", harness.WithTLS(strict))
	san := `match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: %s}}]`
	clusters := map[string]string{
		"good":      harness.UpstreamTLS(ca.Trust(fmt.Sprintf(san, "backend.test")), "sni: backend.test"),
		"blind":     harness.UpstreamTLS("", "sni: backend.test"),
		"distrusts": harness.UpstreamTLS(other.Trust(), "sni: backend.test"),
		"misnamed":  harness.UpstreamTLS(ca.Trust(fmt.Sprintf(san, "other.test")), "sni: backend.test"),
		"mutual":    harness.UpstreamTLS(ca.Trust()+", "+harness.Certificates(client), "sni: backend.test"),
	}
	var list, routes []string
	for name, socket := range clusters {
		addr := backend.Addr
		if name == "mutual" {
			addr = mutual.Addr
		}
		list = append(list, harness.Cluster(name, harness.To(addr), socket))
		routes = append(routes, harness.RouteTo("/"+name, name))
	}
	list = append(list, harness.Cluster("h2", harness.To(backend.Addr), harness.UpstreamTLS(ca.Trust()+", alpn_protocols: [h2]", "sni: backend.test"), harness.HTTP2()))
	routes = append(routes, harness.RouteTo("/h2", "h2"))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(routes...))}}.YAML()},
		Clusters:  list,
	}.YAML()})
	app := host.App()
	for path, want := range map[string]string{"good": "secure", "blind": "secure", "mutual": "mutual", "h2": "secure"} {
		t.Run(path, func(t *testing.T) { wantOK(t, app.Curl(plainURL+path), want) })
	}
	if proto := backend.Last(t).Proto; proto == "" {
		t.Error("the backend does not know its protocol")
	}
	for _, path := range []string{"distrusts", "misnamed"} {
		t.Run(path, func(t *testing.T) {
			got := app.Curl("-w", "%{http_code}", plainURL+path)
			wantContains(t, "answer", got.Out, "upstream connect error or disconnect/reset before headers", "transport failure reason: ", "TLS_error", "CERTIFICATE_VERIFY_FAILED", "503")
			harness.Eventually(t, "the log tells", func() bool { return strings.Contains(weir.Stdout(), `"GET /`+path+` HTTP/1.1" 503 UF`) })
		})
	}
	if n := weir.Stat("cluster.distrusts.ssl.fail_verify_error"); n == 0 {
		t.Error("cluster.distrusts.ssl.fail_verify_error is 0")
	}
	if n := weir.Stat("cluster.misnamed.ssl.fail_verify_san"); n == 0 {
		t.Error("cluster.misnamed.ssl.fail_verify_san is 0")
	}
}

// A secret that rotates serves the next handshake, and connections that live are not touched.
func TestRotationByADS(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			rotate(t, m.host, m.ca, m.certificate, "shop.test", "127.0.0.1:8443", func() harness.Certificate {
				m.certificate = m.ca.Issue("shop.test")
				m.control.Set(m.resources()...)
				return m.certificate
			})
		})
	}
}

// rotate holds a connection over a rotation and asks on it afterwards.
func rotate(t *testing.T, host *harness.Host, ca *harness.CA, old harness.Certificate, name, addr string, change func() harness.Certificate) {
	t.Helper()
	live := mustHandshake(t, host, ca, addr, name)
	if serial(live) != old.Serial {
		t.Fatal("the first certificate is another one")
	}
	_, before := get(t, live, "/")
	next := change()
	harness.Eventually(t, "new handshakes see the new certificate", func() bool {
		return serial(mustHandshake(t, host, ca, addr, name)) == next.Serial
	})
	resp, after := get(t, live, "/")
	if resp.StatusCode != http.StatusOK || after != before {
		t.Errorf("the connection that lived got %d %q, want 200 %q", resp.StatusCode, after, before)
	}
}

// Secrets by file: an SDS file that is renamed into place, as agents do.
func TestRotationByFile(t *testing.T) {
	t.Parallel()
	host, ca := harness.NewHost(t), harness.NewCA(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	dir := harness.Dir(t)
	file := filepath.Join(dir, "sds.yaml")
	write := func(c harness.Certificate) {
		secret := strings.Replace(c.SecretYAML("cert"), "{", `{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, `, 1)
		harness.WriteFile(t, file, "resources: ["+secret+"]\n")
	}
	old := ca.Issue("shop.test")
	write(old)
	sds := harness.DownstreamTLS(fmt.Sprintf(`tls_certificate_sds_secret_configs: [{name: cert, sds_config: {resource_api_version: V3, path_config_source: {path: %s}}}]`, file))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "tls", Address: "127.0.0.1:8443", Chains: []string{
			harness.Chain(harness.HTTP(harness.RouteTo("/", "backend")), sds),
		}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	rotate(t, host, ca, old, "shop.test", "127.0.0.1:8443", func() harness.Certificate {
		next := ca.Issue("shop.test")
		write(next)
		return next
	})
	if key := ca.Issue("shop.test").Key; strings.Contains(weir.Page("/config_dump"), strings.Split(key, "\n")[0]) {
		t.Error("config_dump shows a private key")
	}
}

// A key that does not belong to the certificate is rejected with a reason, and the old secret goes on serving.
func TestUnfitSecretIsRejected(t *testing.T) {
	t.Parallel()
	m := startMesh(t, "GRPC")
	good := m.certificate
	m.certificate.Key = m.ca.Issue("shop.test").Key
	m.control.Set(m.resources()...)
	wantContains(t, "reason", m.control.AwaitRejection("Secret"), "cert", "private key")
	if got := serial(mustHandshake(t, m.host, m.ca, "127.0.0.1:8443", "shop.test")); got != good.Serial {
		t.Error("the old certificate does not serve any more")
	}
}
