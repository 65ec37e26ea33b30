package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// Redirects of the upstream are followed inside, as far as the policy says.
func TestRouterInternalRedirects(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	to := func(status int, location string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.Header().Set("X-Copy", "copied")
			w.WriteHeader(status)
		}
	}
	backend := host.HTTPBackend("backend", "127.0.0.1:0",
		harness.WithHandler("/hop", to(302, "http://other.test/end?a=b")),
		harness.WithHandler("/see", to(303, "http://other.test/end")),
		harness.WithHandler("/loop", to(302, "http://shop.test/loop")),
		harness.WithHandler("/relative", to(302, "/end")),
		harness.WithHandler("/secure", to(302, "https://other.test/end")),
		harness.WithHandler("/lost", to(302, "http://other.test/nowhere")),
		harness.WithHandler("/moved", to(301, "http://other.test/end")),
		harness.WithHandler("/old", to(302, "http://other.test/end")),
		harness.WithHandler("/listed", to(302, "http://other.test/end")),
		harness.WithHandler("/unlisted", to(302, "http://other.test/end")),
		harness.WithHandler("/again", to(302, "http://other.test/again")),
		harness.WithHandler("/cross", to(302, "https://other.test/end")),
		harness.WithHandler("/safe", to(302, "https://other.test/end")),
	)
	final := host.HTTPBackend("final", "127.0.0.1:0")
	const predicate = "type.googleapis.com/envoy.extensions.internal_redirect."
	route := func(name, policy string) string {
		return fmt.Sprintf("{name: %s, match: {prefix: /%s}, route: {cluster: backend, internal_redirect_policy: {%s}}}", name, name, policy)
	}
	r := startRig(t, host, rigConfig{
		routes: []string{
			"{name: end, match: {prefix: /end}, route: {cluster: final}}",
			route("hop", "response_headers_to_copy: [x-copy]"), route("see", "redirect_response_codes: [303]"),
			route("loop", "max_internal_redirects: 3"), route("relative", ""), route("secure", ""), route("lost", ""), route("moved", ""),
			route("listed", `predicates: [{name: a, typed_config: {"@type": `+predicate+`allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: [end]}}]`),
			route("unlisted", `predicates: [{name: a, typed_config: {"@type": `+predicate+`allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: [other]}}]`),
			route("again", `max_internal_redirects: 9, predicates: [{name: a, typed_config: {"@type": `+predicate+`previous_routes.v3.PreviousRoutesConfig}}]`),
			route("cross", "allow_cross_scheme_redirect: true"),
			route("safe", `allow_cross_scheme_redirect: true, predicates: [{name: a, typed_config: {"@type": `+predicate+`safe_cross_scheme.v3.SafeCrossSchemeConfig}}]`),
			"{match: {prefix: /old}, route: {cluster: backend, internal_redirect_action: HANDLE_INTERNAL_REDIRECT}}",
		},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr)), harness.Cluster("final", harness.To(final.Addr))},
	})
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/hop", 200},
		{"POST", "/see", 200},
		{"GET", "/loop", 302},
		{"GET", "/relative", 302},
		{"GET", "/secure", 302},
		{"GET", "/lost", 302},
		{"GET", "/moved", 301},
		{"GET", "/old", 200},
		{"GET", "/listed", 200},
		{"GET", "/unlisted", 302},
		{"GET", "/again", 302},
		{"GET", "/cross", 200},
		{"GET", "/safe", 302},
	} {
		t.Run(tc.path[1:], func(t *testing.T) {
			resp, body := r.send(tc.method, tc.path, "payload", "host: shop.test")
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d: %q", resp.StatusCode, tc.status, body)
			}
			if tc.path != "/hop" && tc.path != "/see" {
				return
			}
			got, wantMethod, wantBody, wantURI := final.Last(t), "POST", "payload", "/end?a=b"
			if tc.path == "/see" {
				wantMethod, wantBody, wantURI = "GET", "", "/end"
			} else if got.Header.Get("X-Copy") != "copied" {
				t.Errorf("the header of the redirect is not copied: %q", got.Header["X-Copy"])
			}
			if got.Host != "other.test" || got.Method != wantMethod || got.Body != wantBody || got.RequestURI != wantURI ||
				got.Header.Get("X-Envoy-Original-Url") != "http://shop.test"+tc.path {
				t.Errorf("%s %s at %s, body %q, original %q", got.Method, got.RequestURI, got.Host, got.Body, got.Header.Get("X-Envoy-Original-Url"))
			}
		})
	}
	r.logged("/end?a=b 200 - via_upstream 1")
	r.stats(map[string]int{
		"cluster.backend.upstream_internal_redirect_succeeded_total":    5 + 3 + 1,
		"cluster.backend.upstream_internal_redirect_failed_total":       1 + 1 + 1 + 1 + 1 + 1 + 1,
		"http.ingress.passthrough_internal_redirect_bad_location":       1,
		"http.ingress.passthrough_internal_redirect_no_route":           1,
		"http.ingress.passthrough_internal_redirect_predicate":          3,
		"http.ingress.passthrough_internal_redirect_too_many_redirects": 1,
		"http.ingress.passthrough_internal_redirect_unsafe_scheme":      1,
		"cluster.backend.upstream_rq_active":                            0,
	})
}
