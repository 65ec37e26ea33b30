package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// echoHandler sends the body back while it comes, and tells in trailers how long it was and what trailer it had.
func echoHandler(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Got-Protocol", r.Proto)
	w.Header().Set("X-Got-Length", fmt.Sprint(r.ContentLength))
	w.Header().Set("Trailer", "X-Sum, X-Got-Trailer")
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/2 always is
	first := make([]byte, 1)
	n, _ := io.ReadFull(r.Body, first)
	_, _ = w.Write(first[:n])
	_ = control.Flush()           // or else a short body has a length, which leaves no place for trailers on HTTP/1.1
	rest, _ := io.Copy(w, r.Body) // a body cut short shows at the client
	w.Header().Set("X-Sum", fmt.Sprint(int64(n)+rest))
	w.Header().Set("X-Got-Trailer", r.Trailer.Get("X-Tail"))
}

// matrix is a weir whose listeners speak what clients want, and whose routes /one and /two go to backends that speak only
// HTTP/1.1 and HTTP/2.
type matrix struct {
	host     *harness.Host
	weir     *harness.Weir
	ca       *harness.CA
	one, two *harness.HTTPBackend
}

// trailers1 lets trailers through on HTTP/1.1.
const trailers1 = "http_protocol_options: {enable_trailers: true}"

func startMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{host: harness.NewHost(t), ca: harness.NewCA(t)}
	handlers := func(prefix string) []harness.HTTPOption {
		return []harness.HTTPOption{
			harness.WithHandler(prefix+"/echo", echoHandler),
			harness.WithHandler(prefix+"/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
			harness.WithHandler(prefix+"/same", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }),
			harness.WithHandler(prefix+"/early", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Link", "</style.css>; rel=preload")
				w.WriteHeader(http.StatusEarlyHints)
				fmt.Fprint(w, "late")
			}),
		}
	}
	m.one = m.host.HTTPBackend("one", "127.0.0.1:0", handlers("/one")...)
	m.two = m.host.HTTPBackend("two", "127.0.0.1:0", append(handlers("/two"), harness.WithHTTP2())...)
	manager := harness.HTTPManager(trailers1, "route_config: "+harness.RouteConfig("local_route", harness.RouteTo("/one", "one"), harness.RouteTo("/two", "two")))
	certificate := harness.Certificates(m.ca.Issue("matrix.test")) + `, alpn_protocols: [h2, "http/1.1"]`
	m.weir = m.host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{
			harness.Listener{Name: "plain", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(manager)}}.YAML(),
			harness.Listener{Name: "tls", Address: "127.0.0.1:8443", Chains: []string{harness.Chain(manager, harness.DownstreamTLS(certificate))}}.YAML(),
		},
		Clusters: []string{
			harness.Cluster("one", harness.To(m.one.Addr), harness.UpstreamHTTP("explicit_http_config: {"+trailers1+"}")),
			harness.Cluster("two", harness.To(m.two.Addr), harness.HTTP2()),
		},
	}.YAML()})
	return m
}

// Every version of HTTP that curl speaks, towards every version that a host speaks.
func TestCurlMatrix(t *testing.T) {
	t.Parallel()
	m := startMatrix(t)
	ca := filepath.Join(harness.Dir(t), "ca.pem")
	harness.WriteFile(t, ca, m.ca.PEM)
	tls := []string{"--cacert", ca, "--resolve", "matrix.test:8443:127.0.0.1"}
	for _, down := range []struct {
		name, url, version string
		flags              []string
	}{
		{"HTTP1", "http://127.0.0.1:8080", "1.1", []string{"--http1.1"}},
		{"HTTP2 by prior knowledge", "http://127.0.0.1:8080", "2", []string{"--http2-prior-knowledge"}},
		{"HTTP1 over TLS", "https://matrix.test:8443", "1.1", append([]string{"--http1.1"}, tls...)},
		{"HTTP2 over TLS", "https://matrix.test:8443", "2", append([]string{"--http2"}, tls...)},
	} {
		for up, proto := range map[string]string{"/one": "HTTP/1.1", "/two": "HTTP/2.0"} {
			t.Run(down.name+" to "+proto, func(t *testing.T) {
				m.checkCurl(t, down.flags, down.url+up, down.version, proto)
			})
		}
	}
	for _, name := range []string{"cluster.one.upstream_rq_active", "cluster.two.upstream_rq_active", "http.ingress.downstream_rq_active"} {
		m.weir.AwaitStat(name, func(n int) bool { return n == 0 })
	}
}

// checkCurl makes requests of every kind that ends in another way.
func (m *matrix) checkCurl(t *testing.T, flags []string, url, version, proto string) {
	body := strings.Repeat("0123456789abcdef", 12_500)
	file := filepath.Join(harness.Dir(t), "body")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	headFile, bodyFile := filepath.Join(harness.Dir(t), "head"), filepath.Join(harness.Dir(t), "answer")
	curl := func(more ...string) harness.Result {
		return m.host.App().Curl(append(append([]string{}, flags...), more...)...)
	}
	// Trailers go to the file of the head, below it.
	exchange := func(what string, want []string, more ...string) {
		t.Helper()
		wantOK(t, curl(append([]string{"-D", headFile, "-o", bodyFile, "-w", "%{http_version}", url + "/echo"}, more...)...), version)
		head, err := os.ReadFile(headFile)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(bodyFile); err != nil || string(got) != body {
			t.Errorf("%s: %d bytes, %v, want %d\n%s", what, len(got), err, len(body), head)
		}
		wantContains(t, what, string(head), append(want, "x-got-protocol: "+proto, "server: envoy", "x-sum: 200000")...)
	}
	exchange("with length", []string{" 200", "x-got-length: 200000"}, "--data-binary", "@"+file, "-H", "expect:")
	exchange("chunked", []string{" 200", "x-got-length: -1"}, "-T", file, "-H", "transfer-encoding: chunked", "-H", "expect:")
	exchange("100-continue", []string{" 100", " 200"}, "--data-binary", "@"+file, "-H", "expect: 100-continue")
	for _, tc := range []struct {
		path, out string
		flags     []string
	}{
		{"/echo", "200 0", []string{"-I"}},
		{"/empty", "204 0", nil},
		{"/same", "304 0", nil},
		{"/echo", "200 0", nil},
		{"/echo", "200 200000", []string{"-X", "PUT", "--data-binary", "@" + file}},
	} {
		args := append([]string{"-o", filepath.Join(harness.Dir(t), "out"), "-w", "%{http_code} %{size_download}"}, tc.flags...)
		wantOK(t, curl(append(args, url+tc.path)...), tc.out)
	}
	if flags[0] != "--http2-prior-knowledge" { // curl 7.88 cannot use such a connection twice, with any server
		wantOK(t, curl("-o", "/dev/null", "-w", "%{num_connects}", url+"/echo", "-o", "/dev/null", url+"/echo"), "10")
	}
}

// Trailers go through between all versions, in both directions.
func TestTrailersMatrix(t *testing.T) {
	t.Parallel()
	m := startMatrix(t)
	for name, client := range map[string]*http.Client{"HTTP1": m.host.Client(), "HTTP2": m.host.HTTP2Client()} {
		for path, proto := range map[string]string{"/one": "HTTP/1.1", "/two": "HTTP/2.0"} {
			t.Run(name+" to "+proto, func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:8080"+path+"/echo", io.NopCloser(strings.NewReader("body")))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Te", "trailers")
				req.Trailer = http.Header{"X-Tail": {"end"}}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil || string(body) != "body" {
					t.Errorf("body %q, %v", body, err)
				}
				if got := resp.Header.Get("X-Got-Protocol"); got != proto {
					t.Errorf("the backend got %s", got)
				}
				if sum, tail := resp.Trailer.Get("X-Sum"), resp.Trailer.Get("X-Got-Trailer"); sum != "4" || tail != "end" {
					t.Errorf("trailers %v, want the length 4 and the request's own trailer", resp.Trailer)
				}
			})
		}
	}
}
