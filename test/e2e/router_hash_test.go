package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// What the hash policies say decides the host of a consistent balancer.
func TestRouterHashPolicies(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	var names []string
	var endpoints []string
	for i := range 5 {
		b := host.HTTPBackend(fmt.Sprintf("b%d", i), "127.0.0.1:0")
		names = append(names, b.Name)
		endpoints = append(endpoints, "{endpoint: {address: "+harness.Address(b.Addr.String())+"}}")
	}
	assignment := "load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [" + strings.Join(endpoints, ", ") + "]}]}"
	route := func(path, policies string) string {
		return fmt.Sprintf("{match: {prefix: %s}, route: {cluster: ring, hash_policy: [%s]}}", path, policies)
	}
	r := startRig(t, host, rigConfig{
		routes: []string{
			route("/header", "{header: {header_name: x-user, regex_rewrite: {pattern: {regex: '^(.*)-.*$'}, substitution: '\\1'}}}"),
			route("/many", "{header: {header_name: x-user}}"),
			route("/cookie", "{cookie: {name: id, ttl: 60s, path: /here, attributes: [{name: SameSite, value: Strict}, {name: Secure}]}}"),
			route("/session", "{cookie: {name: id, ttl: 0s}}"),
			route("/given", "{cookie: {name: id}}"),
			route("/source", "{connection_properties: {source_ip: true}}"),
			route("/query", "{query_parameter: {name: k}}"),
			route("/terminal", "{header: {header_name: x-first}, terminal: true}, {header: {header_name: x-second}}"),
			"{match: {prefix: /maglev}, route: {cluster: maglev, hash_policy: [{header: {header_name: x-user}}]}}",
		},
		clusters: []string{
			"{name: ring, type: STATIC, lb_policy: RING_HASH, " + assignment + "}",
			"{name: maglev, type: STATIC, lb_policy: MAGLEV, " + assignment + "}",
		},
	})
	seen := func(ask func(i int) *http.Response) int {
		t.Helper()
		found := map[string]bool{}
		for i := range 40 {
			resp := ask(i)
			if resp.StatusCode != 200 {
				t.Fatalf("status %d", resp.StatusCode)
			}
			found[resp.Header.Get("X-Backend")] = true
		}
		return len(found)
	}
	one := func(resp *http.Response, _ string) *http.Response { return resp }
	for _, tc := range []struct {
		name string
		many bool // more than one host is expected
		ask  func(i int) *http.Response
	}{
		{"one user", false, func(i int) *http.Response { return one(r.get("/header", fmt.Sprintf("x-user: anna-%d", i))) }},
		{"many users", true, func(i int) *http.Response { return one(r.get("/header", fmt.Sprintf("x-user: user%d-1", i))) }},
		{"no header", true, func(int) *http.Response { return one(r.get("/header")) }},
		{"repeated header in any order", false, func(i int) *http.Response {
			return one(r.get("/many", [2]string{"x-user: a", "x-user: b"}[i%2], [2]string{"x-user: b", "x-user: a"}[i%2]))
		}},
		{"one cookie", false, func(i int) *http.Response { return one(r.get("/given", fmt.Sprintf(`cookie: other=%d; id="v"`, i))) }},
		{"many cookies", true, func(i int) *http.Response { return one(r.get("/given", fmt.Sprintf("cookie: id=%d", i))) }},
		{"cookies that are not generated", true, func(int) *http.Response { return one(r.get("/given")) }},
		{"generated cookies of one connection", false, func(int) *http.Response { return one(r.get("/session")) }},
		{"one source", false, func(int) *http.Response { return one(r.get("/source")) }},
		{"one query", false, func(i int) *http.Response { return one(r.get(fmt.Sprintf("/query?a=%d&k=v", i))) }},
		{"many queries", true, func(i int) *http.Response { return one(r.get(fmt.Sprintf("/query?k=%d", i))) }},
		{"terminal", false, func(i int) *http.Response {
			return one(r.get("/terminal", "x-first: 1", fmt.Sprintf("x-second: %d", i)))
		}},
		{"not terminal without a hash", true, func(i int) *http.Response { return one(r.get("/terminal", fmt.Sprintf("x-second: %d", i))) }},
		{"maglev, one user", false, func(int) *http.Response { return one(r.get("/maglev", "x-user: anna")) }},
		{"maglev, many users", true, func(i int) *http.Response { return one(r.get("/maglev", fmt.Sprintf("x-user: %d", i))) }},
	} {
		if n := seen(tc.ask); n > 1 != tc.many {
			t.Errorf("%s: %d of %d hosts", tc.name, n, len(names))
		}
	}
	resp, _ := r.get("/cookie")
	cookie := resp.Header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, `id="`) || !strings.HasSuffix(cookie, `"; Max-Age=60; Path=/here; SameSite=Strict; Secure; HttpOnly`) {
		t.Errorf("generated cookie %q", cookie)
	}
	pair, _, _ := strings.Cut(cookie, ";")
	again, _ := r.get("/cookie", "cookie: "+pair)
	if again.Header.Get("X-Backend") != resp.Header.Get("X-Backend") || again.Header.Get("Set-Cookie") != "" {
		t.Errorf("with the cookie: host %s after %s, set-cookie %q", again.Header.Get("X-Backend"), resp.Header.Get("X-Backend"), again.Header.Get("Set-Cookie"))
	}
}
