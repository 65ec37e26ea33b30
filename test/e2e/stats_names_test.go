package e2e

import (
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/golden"
	"github.com/weir-proxy/weir/test/harness"
)

// negotiated are names that the TLS libraries on both sides choose. Read only.
var negotiated = regexp.MustCompile(`\.ssl\.(ciphers|curves|versions)\.`)

// TestStatNames holds the names and kinds of the statistics that a plain configuration has after one request of each kind to a
// list, which was compared with the names that Envoy has.
func TestStatNames(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	ca := harness.NewCA(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	secure := host.HTTPBackend("secure", "127.0.0.1:0", harness.WithTLS(ca.Issue("secure.test").Server("http/1.1")))
	h2 := host.HTTPBackend("h2", "127.0.0.1:0", harness.WithHTTP2())
	echo := host.TCPBackend("127.0.0.1:0", harness.Echo)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{
			harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(
				harness.HTTP(harness.RouteTo("/secure", "secure"), harness.RouteTo("/h2", "h2"), harness.RouteTo("/", "web")),
			)}}.YAML(),
			harness.Listener{Name: "tls", Address: "127.0.0.1:8443", InspectTLS: true, More: "stat_prefix: front", Chains: []string{harness.Chain(
				harness.HTTP(harness.RouteTo("/", "web")), harness.DownstreamTLS(harness.Certificates(ca.Issue("front.test"))),
			)}}.YAML(),
			harness.Listener{Name: "tcp", Address: "127.0.0.1:9000", Chains: []string{harness.Chain(harness.TCP("echo"))}}.YAML(),
		},
		Clusters: []string{
			harness.Cluster("web", harness.To(backend.Addr)), harness.Cluster("echo", harness.To(echo.Addr)),
			harness.Cluster("secure", harness.To(secure.Addr), harness.UpstreamTLS(ca.Trust(), "sni: secure.test")),
			harness.Cluster("h2", harness.To(h2.Addr), harness.HTTP2()),
		},
		More: "node: {id: names, cluster: test}",
	}.YAML()})
	wantOK(t, host.App().Curl("http://127.0.0.1:8080/"), "backend")
	wantOK(t, host.App().Curl("http://127.0.0.1:8080/secure"), "secure")
	wantOK(t, host.App().Curl("http://127.0.0.1:8080/h2"), "h2")
	wantOK(t, host.App().Curl("-k", "--http2", "https://127.0.0.1:8443/"), "backend")
	conn := host.MustDial("127.0.0.1:9000")
	saysBack(t, conn, "hello")
	_ = conn.Close()
	weir.AwaitStat("tcp.tcp.downstream_cx_total", func(n int) bool { return n == 1 })
	weir.AwaitStat("listener.front.ssl.handshake", func(n int) bool { return n == 1 })

	var list strings.Builder
	for _, kind := range []string{"Counters", "Gauges", "Histograms", "TextReadouts"} {
		for line := range strings.Lines(weir.Page("/stats?type=" + kind)) {
			name, _, _ := strings.Cut(line, ": ")
			if negotiated.MatchString(name) {
				continue
			}
			list.WriteString(strings.ToLower(strings.TrimSuffix(kind, "s")) + " " + name + "\n")
		}
	}
	golden.Check(t, "testdata/stat_names.golden", list.String())
}

// saysBack sends text to an echo and reads it back.
func saysBack(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := c.Read(got); err != nil || string(got) != text {
		t.Fatalf("echo: %q, %v", got, err)
	}
}
