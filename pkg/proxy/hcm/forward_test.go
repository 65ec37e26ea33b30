package hcm_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

const requestTimeout = 15 * time.Second

// echo answers with the request as it arrived.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("x-seen-path", r.RequestURI)
	w.Header().Set("x-seen-host", r.Host)
	for k, v := range r.Header {
		w.Header().Set("seen-"+k, strings.Join(v, ","))
	}
	_, _ = w.Write(append([]byte("echo:"), body...))
}

func TestForward(t *testing.T) {
	addr := backend(t, echo)
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Timeout: requestTimeout})),
		options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	c := p.dial()
	for range 3 {
		c.send("POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbody")
		resp, body := c.read("POST")
		if resp.StatusCode != 200 || body != "echo:body" {
			t.Fatalf("got %d %q", resp.StatusCode, body)
		}
		for name, want := range map[string]string{
			"server": "envoy", "x-seen-path": "/a?b=c", "x-seen-host": "example.com", "seen-X-Forwarded-Proto": "http",
			"seen-X-Envoy-Expected-Rq-Timeout-Ms": "15000",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("header %s = %q, want %q", name, got, want)
			}
		}
		if id := resp.Header.Get("seen-X-Request-Id"); len(id) != 36 || id[14] != '4' {
			t.Errorf("request id %q is not a version 4 UUID", id)
		}
		if resp.Header.Get("x-envoy-upstream-service-time") == "" || resp.Header.Get("date") == "" {
			t.Errorf("headers are missing: %v", resp.Header)
		}
	}
	_ = c.Close()
	p.logged("POST /a?b=c 200 - via_upstream 4 9 web - 1")
	for name, want := range map[string]uint64{
		"http.test.downstream_rq_total": 3, "http.test.downstream_rq_2xx": 3, "http.test.downstream_rq_completed": 3,
		"listener.test.http.test.downstream_rq_2xx": 3, "http.test.rq_total": 3, "cluster.web.upstream_rq_200": 3,
		"cluster.web.upstream_rq_total": 3, "cluster.web.upstream_cx_total": 1, "http.test.downstream_cx_http1_total": 1,
		"cluster.web.external.upstream_rq_2xx": 3,
	} {
		p.eventually(name, func() bool { return p.counter(name) == want })
	}
	p.eventually("connection is counted out", func() bool {
		return p.counter("http.test.downstream_cx_active") == 0 && p.counter("http.test.downstream_rq_active") == 0 &&
			p.counter("cluster.web.upstream_rq_active") == 0
	})
}

func TestLocalAnswers(t *testing.T) {
	direct := &model.Route{Name: "direct", Match: model.RouteMatch{Path: "/direct"}, Direct: &model.DirectResponse{Status: 418, Body: []byte("teapot")}}
	direct.Headers.ResponseAdd = []model.HeaderOption{{Name: "x-from", Value: "%REQ(:PATH)%"}}
	routes := routeConfig(
		direct,
		&model.Route{Match: model.RouteMatch{Path: "/redirect"}, Redirect: &model.Redirect{HTTPS: true}},
		prefix("/unknown", &model.RouteAction{Cluster: "nowhere"}),
		prefix("/empty", &model.RouteAction{Cluster: "empty"}),
		prefix("/refused", &model.RouteAction{Cluster: "refused"}),
	)
	p := start(t, routes, options{clusters: map[string]*model.Cluster{"empty": static("empty"), "refused": static("refused", "127.0.0.1:1")}})
	for _, tc := range []struct {
		name, request, body, log string
		status                   int
		headers                  map[string]string
	}{
		{
			name: "direct", request: get("/direct/x"), status: 418, body: "teapot",
			headers: map[string]string{"x-from": "/direct/x", "content-type": "text/plain"}, log: "GET /direct/x 418 - direct_response 0 6 - direct",
		},
		{name: "redirect", request: get("/redirect?q"), status: 301, headers: map[string]string{"location": "https://example.com/redirect?q"}},
		{name: "no route", request: get("/none"), status: 404, log: "GET /none 404 NR route_not_found 0 0"},
		{name: "unknown cluster", request: get("/unknown"), status: 503, log: "GET /unknown 503 NC cluster_not_found"},
		{name: "no host", request: get("/empty"), status: 503, body: "no healthy upstream", log: "GET /empty 503 UH no_healthy_upstream"},
		{
			name: "refused", request: get("/refused"), status: 503, log: "GET /refused 503 UF upstream_reset_before_response_started{remote_connection_failure|",
			body: "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: ",
		},
		{
			name: "grpc", request: get("/empty", "content-type: application/grpc"), status: 200,
			headers: map[string]string{"grpc-status": "14", "grpc-message": "no healthy upstream", "content-type": "application/grpc"},
		},
		{name: "no upgrade", request: get("/empty", "connection: upgrade", "upgrade: websocket"), status: 403, log: "GET /empty 403 - upgrade_failed"},
		{name: "http 1.0", request: "GET / HTTP/1.0\r\n\r\n", status: 426},
		{name: "no host header", request: "GET / HTTP/1.1\r\n\r\n", status: 400},
		{name: "both lengths", request: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", status: 400, log: "POST / 400 DPE"},
		{name: "fragment", request: get("/a#b"), status: 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, body := p.do(tc.request)
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tc.status)
			}
			if tc.name == "refused" {
				body = body[:min(len(body), len(tc.body))]
			}
			if tc.body != "" && body != tc.body {
				t.Errorf("body %q, want %q", body, tc.body)
			}
			for k, v := range tc.headers {
				if got := resp.Header.Get(k); got != v {
					t.Errorf("header %s = %q, want %q", k, got, v)
				}
			}
			if tc.log != "" {
				p.logged(tc.log)
			}
		})
	}
}
