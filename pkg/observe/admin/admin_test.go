package admin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/test/await"
	"github.com/weir-proxy/weir/test/golden"
)

// newServer makes a server on a free port of loopback, with fakes behind it. edit may change the options.
func newServer(t testing.TB, f *fake, edit func(*Options)) *Server {
	t.Helper()
	store := stats.NewStore()
	store.Root().Scope("cluster.web").Counter("upstream_rq_total").Add(7)
	store.Root().Scope("cluster.web").Counter("unused")
	store.Root().Scope("server").Gauge("live").Set(1)
	store.Root().Scope("cluster.web").TextReadout("version_text").Set("v1 <b>")
	opt := Options{
		Address: netip.MustParseAddrPort("127.0.0.1:0"), ProfilePath: filepath.Join(t.TempDir(), "weir.prof"),
		Stats: store, Log: log.New(log.Options{Output: io.Discard}), Server: f, Control: f,
		Clusters: f, Listeners: f, ConfigDump: f, ClientStatus: f, InitDump: f, Certificates: f, Runtime: f, Interception: f, Connections: f, Explainer: f, Findings: f,
	}
	if edit != nil {
		edit(&opt)
	}
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask gives the answer to a request without a network.
func ask(s *Server, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestGolden(t *testing.T) {
	tests := []struct {
		file, target, contentType string
		status                    int
	}{
		{"index.html", "/", typeHTML, 200},
		{"help.txt", "/help", typeText, 200},
		{"certs.json", "/certs", typeJSON, 200},
		{"clusters.txt", "/clusters", typeText, 200},
		{"clusters.json", "/clusters?format=json", typeJSON, 200},
		{"clusters_filter.txt", "/clusters?filter=^lo", typeText, 200},
		{"config_dump.json", "/config_dump", typeJSON, 200},
		{"config_dump_eds.json", "/config_dump?include_eds&mask=static_endpoint_configs", typeJSON, 200},
		{"config_dump_resource.json", "/config_dump?resource=dynamic_active_clusters", typeJSON, 200},
		{"config_dump_mask.json", "/config_dump?resource=dynamic_active_clusters&mask=cluster.name,version_info", typeJSON, 200},
		{"config_dump_bootstrap.json", "/config_dump?mask=bootstrap.node", typeJSON, 200},
		{"config_dump_name.json", "/config_dump?resource=static_clusters&name_regex=we.", typeJSON, 200},
		{"init_dump.json", "/init_dump", typeJSON, 200},
		{"init_dump_listener.json", "/init_dump?mask=listener", typeJSON, 200},
		{"listeners.txt", "/listeners", typeText, 200},
		{"listeners.json", "/listeners?format=json", typeJSON, 200},
		{"runtime.json", "/runtime", typeJSON, 200},
		{"server_info.json", "/server_info", typeJSON, 200},
		{"stats.txt", "/stats?filter=^cluster|^server", typeText, 200},
		{"stats_used.txt", "/stats?usedonly&filter=web&type=Counters", typeText, 200},
		{"stats.json", "/stats?format=json&pretty&filter=^cluster", typeJSON, 200},
		{"stats.html", "/stats?format=html&filter=^cluster", typeHTML, 200},
		{"stats.prom", "/stats/prometheus?filter=^cluster&text_readouts", typeText, 200},
		{"connections.json", "/weir/connections", typeJSON, 200},
		{"connections.txt", "/weir/connections?format=text&limit=7", typeText, 200},
		{"connections_limit.txt", "/weir/connections?limit=0", typeText, 400},
		{"connections_format.txt", "/weir/connections?format=xml", typeText, 400},
		{"explain.txt", "/weir/explain?dst=10.0.0.1:80&header=a:b&header=c:d", typeText, 200},
		{"explain.json", "/weir/explain?dst=10.0.0.1:80&format=json", typeJSON, 200},
		{"explain_error.txt", "/weir/explain?dst=nowhere", typeText, 400},
		{"explain_format.txt", "/weir/explain?dst=10.0.0.1:80&format=xml", typeText, 400},
		{"explain_params.txt", "/weir/explain?dst=%zz", typeText, 400},
		{"interception.json", "/weir/interception", typeJSON, 200},
		{"interception.txt", "/weir/interception?format=text", typeText, 200},
		{"findings.json", "/weir/findings", typeJSON, 200},
		{"findings.txt", "/weir/findings?format=text", typeText, 200},
		{"config_dump_findings.json", "/config_dump?resource=weir_findings&name_regex=w.*", typeJSON, 200},
		{"unknown.txt", "/nowhere", typeText, 404},
	}
	s := newServer(t, newFake(t), nil)
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			w := ask(s, http.MethodGet, tt.target)
			if w.Code != tt.status || w.Header().Get("Content-Type") != tt.contentType {
				t.Errorf("status %d, content type %q", w.Code, w.Header().Get("Content-Type"))
			}
			if strings.HasSuffix(tt.file, ".json") && !json.Valid(w.Body.Bytes()) {
				t.Error("not JSON")
			}
			golden.Check(t, "testdata/"+tt.file, w.Body.Bytes())
		})
	}
}

func TestAnswers(t *testing.T) {
	const usage = "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|none)\n"
	tests := map[string]struct {
		method, target string
		status         int
		body           string
	}{
		"ready":              {"GET", "/ready", 200, "LIVE\n"},
		"hot restart":        {"GET", "/hot_restart_version", 200, "weir.0"},
		"bad stats filter":   {"GET", "/stats?filter=(", 400, "Invalid re2 regex"},
		"bad prom filter":    {"GET", "/stats/prometheus?filter=(", 400, "Invalid re2 regex"},
		"bad cluster filter": {"GET", "/clusters?filter=(", 400, "Invalid re2 regex"},
		"bad type":           {"GET", "/stats?type=x", 400, "invalid &type= param"},
		"bad buckets":        {"GET", "/stats?histogram_buckets=x", 400, usage},
		"bad format":         {"GET", "/stats?format=x", 400, "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"},
		"prom disjoint":      {"GET", "/stats?format=prometheus&histogram_buckets=disjoint", 400, "unsupported prometheus histogram bucket mode"},
		"bad mask":           {"GET", "/config_dump?mask=nothing.here", 400, "FieldMask nothing.here could not be successfully applied to any configs."},
		"bad resource mask":  {"GET", "/config_dump?resource=static_clusters&mask=cluster.nothing", 400, "FieldMask paths: \"cluster.nothing\"\n could not be successfully used."},
		"no resource":        {"GET", "/config_dump?resource=x", 404, "x not found in config dump"},
		"not repeated":       {"GET", "/config_dump?resource=version_info", 400, "version_info is not a repeated field. Use ?mask=version_info to get only this field"},
		"bad name":           {"GET", "/config_dump?name_regex=(", 400, "INVALID_ARGUMENT: Error while parsing name_regex from (: error parsing regexp: missing closing ): `^(?:()$`"},
		"bad init mask":      {"GET", "/init_dump?mask=x", 200, "{}\n"},
		"skip without":       {"POST", "/drain_listeners?skip_exit", 400, "skip_exit requires graceful\n"},
		"profiler":           {"POST", "/cpuprofiler", 400, "?enable=<y|n>\n"},
		"heap profiler":      {"POST", "/heapprofiler?enable=n", 400, "Fail to stop heap profiler: not started"},
		"runtime refused":    {"POST", "/runtime_modify?refuse=1", 503, "No admin layer specified"},
		"findings format":    {"GET", "/weir/findings?format=x", 400, "usage: /weir/findings?format=(json|text)\n\n"},
		"lookups":            {"GET", "/stats/recentlookups", 200, "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n"},
		"alloc profiler":     {"POST", "/allocprofiler?enable=n", 400, "Allocation profiler is not started"},
		"alloc usage":        {"POST", "/allocprofiler?enable=x", 400, "?enable=<y|n>\n"},
		"tap":                {"POST", "/tap", 404, ask(newServer(t, newFake(t), nil), "GET", "/nowhere").Body.String()},
		"hystrix":            {"GET", "/hystrix_event_stream", 404, ask(newServer(t, newFake(t), nil), "GET", "/nowhere").Body.String()},
		"HEAD that changes":  {"HEAD", "/quitquitquit", 405, "Method HEAD not allowed, POST required."},
		"PUT that reads":     {"PUT", "/ready", 200, "LIVE\n"},
		"contention":         {"GET", "/contention", 200, "Mutex contention tracing is not enabled. To enable, run weir with flag --enable-mutex-tracing."},
	}
	s := newServer(t, newFake(t), nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := ask(s, tt.method, tt.target)
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("status %d, body %q", w.Code, w.Body)
			}
		})
	}
}

func TestReadyStates(t *testing.T) {
	for _, state := range []string{"PRE_INITIALIZING", "INITIALIZING", "DRAINING"} {
		f := newFake(t)
		f.state = state
		w := ask(newServer(t, f, nil), "GET", "/ready")
		if w.Code != http.StatusServiceUnavailable || w.Body.String() != state+"\n" {
			t.Errorf("%s: %d %q", state, w.Code, w.Body)
		}
	}
}

// TestMethods asks for every path by GET: what changes something must refuse and must not have done it.
func TestMethods(t *testing.T) {
	f := newFake(t)
	s := newServer(t, f, nil)
	refused := 0
	for path, e := range s.endpoints {
		w := ask(s, http.MethodGet, path)
		switch {
		case (e.mutates || e.post) && (w.Code != http.StatusMethodNotAllowed || w.Body.String() != "Method GET not allowed, POST required."):
			t.Errorf("GET %s: %d %q", path, w.Code, w.Body)
		case !e.mutates && !e.post && w.Code != http.StatusOK:
			t.Errorf("GET %s: %d %q", path, w.Code, w.Body)
		}
		if e.mutates {
			refused++
		}
	}
	if refused != 14 || len(f.calls) != 0 {
		t.Errorf("%d refused, calls %v", refused, f.calls)
	}
}

func TestControl(t *testing.T) {
	f := newFake(t)
	s := newServer(t, f, nil)
	for _, target := range []string{
		"/drain_listeners", "/drain_listeners?graceful&skip_exit", "/drain_listeners?inboundonly&graceful=false",
		"/healthcheck/fail", "/healthcheck/ok", "/reopen_logs", "/reset_counters", "/quitquitquit",
	} {
		if w := ask(s, http.MethodPost, target); w.Code != 200 || w.Body.String() != "OK\n" {
			t.Errorf("%s: %d %q", target, w.Code, w.Body)
		}
	}
	want := []string{"drain", "drain graceful skip_exit", "drain graceful inboundonly", "fail", "ok", "reopen", "quit"}
	if diff := cmp.Diff(want, f.calls); diff != "" {
		t.Error(diff)
	}
	if w := ask(s, http.MethodGet, "/stats?filter=upstream_rq_total"); w.Body.String() != "cluster.web.upstream_rq_total: 0\n" {
		t.Errorf("after reset: %s", w.Body)
	}
}

func TestCrossSite(t *testing.T) {
	f := newFake(t)
	s := newServer(t, f, nil)
	r := httptest.NewRequest(http.MethodPost, "/quitquitquit", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || len(f.calls) != 0 {
		t.Errorf("status %d, calls %v", w.Code, f.calls)
	}
}

func TestAllowPath(t *testing.T) {
	s := newServer(t, newFake(t), func(o *Options) { o.AllowPath = func(path string) bool { return path == "/ready" } })
	if w := ask(s, http.MethodGet, "/config_dump"); w.Code != http.StatusForbidden || w.Body.String() != "request to path /config_dump not allowed" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if w := ask(s, http.MethodGet, "/ready?x"); w.Code != 200 {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestLogging(t *testing.T) {
	s := newServer(t, newFake(t), nil)
	first := func(w *httptest.ResponseRecorder) string {
		line, _, _ := strings.Cut(w.Body.String(), "\n")
		return line
	}
	for _, tt := range []struct {
		target, first, has string
		status             int
	}{
		{"/logging", "active loggers:", "  http: info\n", 200},
		{"/logging?http=debug", "active loggers:", "  http: debug\n", 200},
		{"/logging?paths=http:trace,upstream:warning", "active loggers:", "  upstream: warning\n", 200},
		{"/logging?paths=&level=error", "active loggers:", "  http: error\n", 200},
		{"/logging?level=off", "active loggers:", "  admin: off\n", 200},
		{"/logging?level=loud", "error: unknown logger level", "usage: /logging?level=<level> (change all levels)\n", 400},
		{"/logging?nobody=info", "error: unknown logger name", "levels: trace debug info warning error critical off \n", 400},
		{"/logging?paths=http", "error: empty logger name or empty logger level", "  http: off\n", 400},
		{"/logging?a=info&b=info", "error: invalid number of parameters", "  http: off\n", 400},
	} {
		w := ask(s, http.MethodPost, tt.target)
		if w.Code != tt.status || first(w) != tt.first || !strings.Contains(w.Body.String(), tt.has) {
			t.Errorf("%s: %d\n%s", tt.target, w.Code, w.Body)
		}
	}
}

func TestRecentLookups(t *testing.T) {
	s := newServer(t, newFake(t), nil)
	for _, step := range []struct{ method, path, body string }{
		{"POST", "/enable", "OK\n"},
		{"GET", "", "   Count Lookup\n\ntotal: 0\n"},
		{"POST", "/clear", "OK\n"},
		{"POST", "/disable", "OK\n"},
		{"GET", "", "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n"},
	} {
		if w := ask(s, step.method, "/stats/recentlookups"+step.path); w.Code != 200 || w.Body.String() != step.body {
			t.Errorf("%s: %d %q", step.path, w.Code, w.Body)
		}
	}
}

// TestEmptyForms sends every form of the index page as a browser does that nobody typed into.
func TestEmptyForms(t *testing.T) {
	s := newServer(t, newFake(t), nil)
	for path, e := range s.endpoints {
		form := url.Values{}
		for _, p := range e.params {
			switch p.kind {
			case textParam:
				form.Set(p.name, "")
			case enumParam:
				form.Set(p.name, p.choices[0])
			}
		}
		r := httptest.NewRequest(http.MethodGet, path+"?"+form.Encode(), nil)
		if e.mutates || e.post {
			r = httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusOK && path != "/runtime_modify" { // which has no form to fill in
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}

func TestRuntimeModify(t *testing.T) {
	f := newFake(t)
	s := newServer(t, f, nil)
	r := httptest.NewRequest(http.MethodPost, "/runtime_modify", strings.NewReader("c=y%21&new=1+2"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != 200 || f.admin["c"] != "y!" || f.admin["new"] != "1 2" {
		t.Errorf("%d %q %v", w.Code, w.Body, f.admin)
	}
	if w := ask(s, http.MethodPost, "/runtime_modify?c="); w.Code != 200 || f.admin["c"] != "" {
		t.Errorf("%d %v", w.Code, f.admin)
	}
	if w := ask(s, http.MethodPost, "/runtime_modify"); w.Code != 400 || !strings.HasPrefix(w.Body.String(), "usage: /runtime_modify?") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	r = httptest.NewRequest(http.MethodPost, "/runtime_modify", bytes.NewReader(make([]byte, maxBody+1)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w = httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != 400 || w.Body.String() != "read form: http: request body too large\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// TestNoSecrets looks for the private keys of the fake configuration in every form of the dump, also as base64.
func TestNoSecrets(t *testing.T) {
	s := newServer(t, newFake(t), nil)
	targets := []string{"/server_info", "/config_dump", "/config_dump?include_eds", "/config_dump?mask=bootstrap"}
	for _, resource := range []string{"static_secrets", "static_clusters", "static_listeners"} {
		targets = append(targets, "/config_dump?resource="+resource)
	}
	targets = append(targets, "/config_dump?resource=dynamic_listeners", "/config_dump?resource=static_secrets&mask=secret.tls_certificate.private_key")
	for _, target := range targets {
		body := ask(s, http.MethodGet, target).Body.String()
		for _, form := range []string{
			secretBytes, secretBytes[:16], base64.StdEncoding.EncodeToString([]byte(secretBytes))[:16], "PRIVATE KEY",
		} {
			if strings.Contains(body, form) {
				t.Errorf("%s holds %q", target, form)
			}
		}
		if strings.HasSuffix(target, "dynamic_listeners") {
			continue // what was rejected there cannot be looked into, and is dropped
		}
		if !strings.Contains(body, "[redacted]") {
			t.Errorf("%s shows no secret at all", target)
		}
	}
	all := ask(s, http.MethodGet, "/config_dump").Body.String()
	// Bootstrap: cluster, listener (one of two as a typed struct) and secret; then clusters, listeners and secrets again.
	if n := strings.Count(all, "public chain"); n != 8 {
		t.Errorf("%d public chains are shown, not 8: redaction takes too much or too little", n)
	}
	if !strings.Contains(all, "W3JlZGFjdGVkXQ==") {
		t.Error("sensitive bytes are not shown as Envoy does")
	}
}

func TestPanic(t *testing.T) {
	s := newServer(t, newFake(t), func(o *Options) { o.FlushStats = func() { panic("boom") } })
	if w := ask(s, http.MethodGet, "/stats"); w.Code != 500 || w.Body.String() != "internal error\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if w := ask(s, http.MethodGet, "/ready"); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
	if n := s.metrics.rqActive.Value(); n != 0 {
		t.Errorf("%d requests seem to be under way", n)
	}
}

// TestNothingBehind asks a server that has only what is required.
func TestNothingBehind(t *testing.T) {
	s := newServer(t, newFake(t), func(o *Options) {
		*o = Options{Address: o.Address, Stats: o.Stats, Log: o.Log, Server: o.Server, Control: o.Control, ProfilePath: o.ProfilePath}
	})
	for path, e := range s.endpoints {
		want := 200
		if path == "/weir/explain" { // without its parameters it could not answer anyway
			want = 404
		}
		if w := ask(s, http.MethodGet, path); !e.mutates && !e.post && w.Code != want {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
	if w := ask(s, http.MethodGet, "/weir/interception"); w.Body.String() != "{\n \"active\": false\n}\n" {
		t.Errorf("interception: %q", w.Body)
	}
	if w := ask(s, http.MethodPost, "/runtime_modify?a=b"); w.Code != 503 {
		t.Errorf("runtime_modify: %d", w.Code)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a server without anything was made")
	}
}

func TestProfiles(t *testing.T) {
	s := newServer(t, newFake(t), nil)
	for _, target := range []string{"/cpuprofiler?enable=y", "/cpuprofiler?enable=y", "/cpuprofiler?enable=n", "/cpuprofiler?enable=n"} {
		if w := ask(s, http.MethodPost, target); w.Code != 200 || w.Body.String() != "OK\n" {
			t.Fatalf("%s: %d %q", target, w.Code, w.Body)
		}
	}
	for _, target := range []string{"/heapprofiler?enable=y", "/heapprofiler?enable=n"} {
		if w := ask(s, http.MethodPost, target); w.Code != 200 {
			t.Fatalf("%s: %d %q", target, w.Code, w.Body)
		}
	}
	gzip := []byte{0x1f, 0x8b}
	if w := ask(s, http.MethodPost, "/allocprofiler?enable=y"); w.Code != 200 || w.Body.String() != "OK\n" {
		t.Errorf("allocations: %d %q", w.Code, w.Body)
	}
	if w := ask(s, http.MethodPost, "/allocprofiler?enable=n"); w.Code != 200 || !bytes.HasPrefix(w.Body.Bytes(), gzip) || w.Header().Get("Content-Type") != typeBinary {
		t.Errorf("allocations: %d", w.Code)
	}
	for _, file := range []string{s.opt.ProfilePath, s.opt.ProfilePath + ".heap"} {
		if raw, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(raw, gzip) {
			t.Errorf("%s is no profile: %v", file, err)
		}
	}
	if w := ask(s, http.MethodGet, "/heap_dump"); w.Code != 200 || !bytes.HasPrefix(w.Body.Bytes(), gzip) {
		t.Errorf("heap dump: %d", w.Code)
	}
}
