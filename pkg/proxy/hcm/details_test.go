package hcm_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/headers"
	"github.com/weir-proxy/weir/pkg/proxy/filter/originalip"
)

// certificate makes a self-signed certificate with these names.
func certificate(t *testing.T, subject pkix.Name, uri string, dns ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: dns,
	}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		tmpl.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestForwardClientCert(t *testing.T) {
	server := certificate(t, pkix.Name{CommonName: "server"}, "spiffe://here/server")
	client := certificate(t, pkix.Name{Organization: []string{`A "B"`}, CommonName: "client"}, "spiffe://there/client", "one.test", "two.test")
	bare := certificate(t, pkix.Name{}, "")
	hash := func(c tls.Certificate) string {
		sum := sha256.Sum256(c.Certificate[0])
		return hex.EncodeToString(sum[:])
	}
	const sent, none = "By=somebody;Hash=1", "\x00"
	own := "By=spiffe://here/server;Hash=" + hash(client)
	all := model.ClientCertDetails{Subject: true, DNS: true, URI: true}
	for _, tc := range []struct {
		name    string
		mode    model.ForwardClientCert
		details model.ClientCertDetails
		client  *tls.Certificate
		want    string
	}{
		{"sanitize", model.ClientCertSanitize, all, &client, none},
		{"forward only", model.ClientCertForwardOnly, all, &client, sent},
		{"forward only without certificate", model.ClientCertForwardOnly, all, nil, none},
		{"append without certificate", model.ClientCertAppendForward, all, nil, none},
		{"always forward only", model.ClientCertAlwaysForwardOnly, all, nil, sent},
		{"append", model.ClientCertAppendForward, model.ClientCertDetails{}, &client, sent + "," + own},
		{"set", model.ClientCertSanitizeSet, model.ClientCertDetails{}, &client, own},
		{
			"set with details", model.ClientCertSanitizeSet, all, &client,
			own + `;Subject="CN=client,O=A \"B\"";URI=spiffe://there/client;DNS=one.test;DNS=two.test`,
		},
		{
			"empty subject and uri", model.ClientCertSanitizeSet, all, &bare,
			"By=spiffe://here/server;Hash=" + hash(bare) + `;Subject="";URI=`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
				tls:      &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert},
				clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))},
				cfg: func(c *model.HTTPConnectionManager) {
					c.ForwardClientCert, c.ClientCertDetails = tc.mode, tc.details
				},
			})
			if got := xfcc(t, p, tc.client, sent); got != tc.want {
				t.Errorf("upstream saw\n%q, want\n%q", got, tc.want)
			}
		})
	}
}

// xfcc is what the upstream sees of a request with this header; NUL for nothing.
func xfcc(t *testing.T, p *proxy, client *tls.Certificate, sent string) string {
	t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true}
	if client != nil {
		cfg.Certificates = []tls.Certificate{*client}
	}
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
	req, err := http.NewRequest(http.MethodGet, "https://"+p.addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-forwarded-client-cert", sent)
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, ok := resp.Header["Seen-X-Forwarded-Client-Cert"]; ok {
		return got[0]
	}
	return "\x00"
}

func TestForwardClientCertPEM(t *testing.T) {
	cert := certificate(t, pkix.Name{CommonName: "both"}, "")
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
		tls:      &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert},
		clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))},
		cfg: func(c *model.HTTPConnectionManager) {
			c.ForwardClientCert = model.ClientCertSanitizeSet
			c.ClientCertDetails = model.ClientCertDetails{Cert: true, Chain: true}
		},
	})
	got := xfcc(t, p, &cert, "By=x")
	for _, name := range []string{"Cert", "Chain"} {
		_, rest, _ := strings.Cut(got, ";"+name+`="`)
		value, _, ok := strings.Cut(rest, `"`)
		text, err := url.PathUnescape(value)
		if !ok || err != nil || strings.ContainsAny(value, "+/= \n") || !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----\n") {
			t.Errorf("%s is %q in %q", name, value, got)
		}
	}
}

// statusIs is an access log filter that compares the status.
func statusIs(t *testing.T, op accesslogv3.ComparisonFilter_Op, status uint32) any {
	t.Helper()
	f, err := accesslog.DecodeFilter(&accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: &accesslogv3.ComparisonFilter{
			Op: op, Value: &corev3.RuntimeUInt32{DefaultValue: status, RuntimeKey: "reply.status"},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func text(t *testing.T, s string) any {
	t.Helper()
	f, err := format.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLocalReply(t *testing.T) {
	asJSON, err := format.CompileJSON(map[string]any{"code": "%RESPONSE_CODE%", "what": "%LOCAL_REPLY_BODY%", "path": "%REQ(:path)%"}, format.JSONOptions{Typed: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg := &model.LocalReply{
		Body: &model.ReplyBody{Format: text(t, "[%LOCAL_REPLY_BODY%]"), ContentType: "text/x-all"},
		Mappers: []model.ReplyMapper{
			{Filter: nil, Status: 599}, // without filter: never
			{
				Filter: statusIs(t, accesslogv3.ComparisonFilter_EQ, 404), Status: 410, Text: "gone", HasText: true,
				HeadersAdd: []model.HeaderOption{{Name: "X-Why", Value: "%RESPONSE_CODE_DETAILS%", Append: model.OverwriteOrAdd}},
			},
			{Filter: statusIs(t, accesslogv3.ComparisonFilter_EQ, 503), Body: &model.ReplyBody{Format: asJSON, ContentType: "application/json"}},
			{Filter: statusIs(t, accesslogv3.ComparisonFilter_EQ, 410), Status: 500}, // only the first that matches applies
		},
	}
	p := start(t, routeConfig(
		prefix("/none", &model.RouteAction{Cluster: "none"}),
		&model.Route{Match: model.RouteMatch{Path: "/direct"}, Direct: &model.DirectResponse{Status: 200, Body: []byte("hello")}},
	), options{
		clusters: map[string]*model.Cluster{"none": static("none")},
		cfg:      func(c *model.HTTPConnectionManager) { c.LocalReply = cfg },
	})
	for _, tc := range []struct {
		name, request     string
		status            int
		body, contentType string
	}{
		{"mapped", get("/missing"), 410, "[gone]", "text/x-all"},
		{"of the router, as JSON", get("/none"), 503, `{"code":503,"path":"/none","what":"no healthy upstream"}` + "\n", "application/json"},
		{"direct response", get("/direct"), 200, "[hello]", "text/x-all"},
		{"of the codec", "GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n", 400, "[Bad Request]", "text/x-all"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, body := p.do(tc.request)
			if resp.StatusCode != tc.status || body != tc.body || resp.Header.Get("content-type") != tc.contentType {
				t.Errorf("%d %q %q, want %d %q %q", resp.StatusCode, body, resp.Header.Get("content-type"), tc.status, tc.body, tc.contentType)
			}
		})
	}
	resp, _ := p.do(get("/missing"))
	if got := resp.Header.Get("x-why"); got != "route_not_found" {
		t.Errorf("header %q", got)
	}
	p.logged("GET /missing 410 NR route_not_found")
	resp, _ = p.do("POST /missing HTTP/1.1\r\nHost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n")
	if resp.StatusCode != 200 || resp.Header.Get("grpc-status") != "2" || resp.Header.Get("grpc-message") != "[gone]" {
		t.Errorf("gRPC got %d %v", resp.StatusCode, resp.Header)
	}
	if n := p.counter("http.test.downstream_rq_5xx"); n != 1 {
		t.Errorf("%d of class 5xx", n)
	}
}

func TestLocalReplyRuntime(t *testing.T) {
	p := start(t, routeConfig(), options{
		runtime: model.RuntimeOf(map[string]uint64{"reply.status": 404}),
		cfg: func(c *model.HTTPConnectionManager) {
			c.LocalReply = &model.LocalReply{Mappers: []model.ReplyMapper{{Filter: statusIs(t, accesslogv3.ComparisonFilter_EQ, 1), Status: 418}}}
		},
	})
	if resp, _ := p.do(get("/")); resp.StatusCode != 418 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestProxyStatus(t *testing.T) {
	hang := backend(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	named := static("named", backend(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("proxy-status", "inner") }))
	for _, tc := range []struct {
		name, path string
		cfg        model.ProxyStatus
		status     int
		want       string
	}{
		{"no route", "/missing", model.ProxyStatus{}, 404, `envoy; error=destination_not_found; details="route_not_found; NR"`},
		{"recommended", "/missing", model.ProxyStatus{RecommendedStatus: true, Name: "me"}, 500, `me; error=destination_not_found; details="route_not_found; NR"`},
		{"no host", "/none", model.ProxyStatus{UseNodeID: true, RemoveFlags: true}, 503, `node-1; error=destination_unavailable; details="no_healthy_upstream"`},
		{"no details", "/none", model.ProxyStatus{RemoveDetails: true}, 503, "envoy; error=destination_unavailable"},
		{"timeout", "/hang", model.ProxyStatus{}, 504, `envoy; error=http_response_timeout; details="upstream_response_timeout; UT"`},
		{"nothing to say", "/named", model.ProxyStatus{}, 200, "inner"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, routeConfig(
				prefix("/none", &model.RouteAction{Cluster: "none"}),
				prefix("/hang", &model.RouteAction{Cluster: "hang", Timeout: 30 * time.Millisecond}),
				prefix("/named", &model.RouteAction{Cluster: "named"}),
			), options{
				node:     "node-1",
				clusters: map[string]*model.Cluster{"none": static("none"), "hang": static("hang", hang), "named": named},
				cfg:      func(c *model.HTTPConnectionManager) { c.ProxyStatus = &tc.cfg },
			})
			resp, _ := p.do(get(tc.path))
			if got := resp.Header.Get("proxy-status"); resp.StatusCode != tc.status || got != tc.want {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, got, tc.status, tc.want)
			}
		})
	}
}

// early is an early header mutation.
type early struct{ list headers.Mutations }

// Mutate implements filter.EarlyMutation.
func (e early) Mutate(s *filter.Stream) { e.list.Apply(s, &s.Request.Headers) }

func TestEarlyMutation(t *testing.T) {
	list, err := headers.Add(
		model.HeaderOption{Name: "x-forwarded-for", Value: "10.1.1.1", Append: model.OverwriteOrAdd},
		model.HeaderOption{Name: "x-copy", Value: "%REQ(x-which)%"},
	)
	if err != nil {
		t.Fatal(err)
	}
	byHeader := prefix("/", &model.RouteAction{Cluster: "web"})
	byHeader.Match.Headers = []model.HeaderMatcher{{Name: "x-copy", String: model.StringMatcher{Value: "one"}}}
	p := start(t, routeConfig(byHeader), options{
		clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))},
		cfg:      func(c *model.HTTPConnectionManager) { c.EarlyMutations = []any{early{list}} },
	})
	resp, _ := p.do(get("/", "x-which: one"))
	if resp.StatusCode != 200 || resp.Header.Get("Seen-X-Envoy-Internal") != "true" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

func TestOriginalIP(t *testing.T) {
	for _, tc := range []struct {
		name      string
		detectors []any
		headers   []string
		status    int
		client    string
		xff       string
		internal  bool
	}{
		{"custom header", []any{&originalip.CustomHeader{Name: "x-client"}}, []string{"x-client: 10.0.0.9"}, 200, "10.0.0.9", "127.0.0.1", false},
		{"trusted header", []any{&originalip.CustomHeader{Name: "x-client", Trusted: true}}, []string{"x-client: 10.0.0.9"}, 200, "10.0.0.9", "127.0.0.1", true},
		{"refused", []any{&originalip.CustomHeader{Name: "x-client", RejectStatus: 401}}, nil, 401, "127.0.0.1", "", false},
		{"no address", []any{&originalip.CustomHeader{Name: "x-client", RejectStatus: 403}}, []string{"x-client: me"}, 403, "127.0.0.1", "", false},
		{"hops", []any{&originalip.XFF{Hops: 1}}, []string{"x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3"}, 200, "2.2.2.2", "1.1.1.1, 2.2.2.2, 3.3.3.3", false},
		{"appends", []any{&originalip.XFF{Append: true}}, []string{"x-forwarded-for: 3.3.3.3"}, 200, "3.3.3.3", "3.3.3.3,127.0.0.1", false},
		{
			"trusted networks",
			[]any{&originalip.XFF{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("9.0.0.0/8")}}},
			[]string{"x-forwarded-for: 1.1.1.1,9.1.1.1,9.2.2.2"},
			200, "1.1.1.1", "1.1.1.1,9.1.1.1,9.2.2.2", false,
		},
		{
			"untrusted peer, then the second",
			[]any{&originalip.XFF{Trusted: []netip.Prefix{netip.MustParsePrefix("9.0.0.0/8")}}, &originalip.CustomHeader{Name: "x-client"}},
			[]string{"x-forwarded-for: 1.1.1.1", "x-client: 4.4.4.4"},
			200, "4.4.4.4", "1.1.1.1,127.0.0.1,127.0.0.1", false,
		},
		{"nothing found", []any{&originalip.XFF{}}, nil, 200, "127.0.0.1", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
				clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))},
				cfg: func(c *model.HTTPConnectionManager) {
					c.IPDetectors = tc.detectors
					c.AccessLogs = []*model.AccessLog{{Config: &accesslog.File{Path: "/dev/stdout", Format: text(t, "client %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %RESPONSE_CODE_DETAILS%\n").(*format.Format)}}}
				},
			})
			resp, _ := p.do(get("/", tc.headers...))
			if resp.StatusCode != tc.status {
				t.Fatalf("got %d", resp.StatusCode)
			}
			if tc.status != 200 {
				p.logged("client " + tc.client + " rejecting_because_detection_failed")
				if p.counter("http.test.downstream_rq_rejected_via_ip_detection") != 1 {
					t.Error("it was not counted")
				}
				return
			}
			p.logged("client " + tc.client + " via_upstream")
			if got := resp.Header.Get("Seen-X-Forwarded-For"); got != tc.xff {
				t.Errorf("x-forwarded-for %q, want %q", got, tc.xff)
			}
			if got := resp.Header.Get("Seen-X-Envoy-Internal") == "true"; got != tc.internal {
				t.Errorf("internal is %v", got)
			}
		})
	}
}

func TestForwardedPortAndScheme(t *testing.T) {
	for _, tc := range []struct {
		name       string
		cfg        func(*model.HTTPConnectionManager)
		port, want string // sent and seen; "own" is the listener's
	}{
		{"absent", func(c *model.HTTPConnectionManager) { c.AppendForwardedPort = true }, "", "own"},
		{"trusted", func(c *model.HTTPConnectionManager) { c.AppendForwardedPort = true }, "99", "99"},
		{"edge", func(c *model.HTTPConnectionManager) { c.AppendForwardedPort, c.UseRemoteAddress = true, true }, "99", "own"},
		{"behind a hop", func(c *model.HTTPConnectionManager) {
			c.AppendForwardedPort, c.UseRemoteAddress, c.XFFNumTrustedHops = true, true, 1
		}, "99", "99"},
		{"off", func(*model.HTTPConnectionManager) {}, "99", "99"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
				cfg: tc.cfg, clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))},
			})
			var sent []string
			if tc.port != "" {
				sent = append(sent, "x-forwarded-port: "+tc.port)
			}
			resp, _ := p.do(get("/", sent...))
			want := tc.want
			if want == "own" {
				_, want, _ = strings.Cut(p.addr, ":")
			}
			if got := resp.Header.Get("Seen-X-Forwarded-Port"); got != want {
				t.Errorf("port %q, want %q", got, want)
			}
		})
	}
}
