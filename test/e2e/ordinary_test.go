package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// The configuration in testdata/inventory.yaml is an ordinary Envoy reverse proxy. It must run as it stands, for root and for
// anybody else.
func TestOrdinaryProxy(t *testing.T) {
	config, err := os.ReadFile("testdata/inventory.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		user uint32
	}{{"root", 0}, {"nobody", harness.Nobody}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			backend := host.HTTPBackend("inventory", "127.0.0.2:80")
			weir := host.StartWeir(harness.WeirOptions{
				Config: string(config), Bare: true, User: tc.user, Hosts: "127.0.0.1 localhost\n127.0.0.2 inventory-service\n",
			})
			got := host.App().Curl("-i", "http://127.0.0.1:8080/stock?item=7")
			checkEnvoyResponse(t, got, "inventory")
			request := backend.Last(t)
			if request.Host != "127.0.0.1:8080" || request.RequestURI != "/stock?item=7" {
				t.Errorf("backend got %s %s", request.Host, request.RequestURI)
			}
			if id := request.Header.Get("X-Request-Id"); !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(id) {
				t.Errorf("x-request-id %q is not a UUID", id)
			}
			if proto := request.Header.Get("X-Forwarded-Proto"); proto != "http" {
				t.Errorf("x-forwarded-proto %q, want http", proto)
			}
			if log := weir.Log(); strings.Contains(log, "[error]") {
				t.Errorf("errors in the log:\n%s", log)
			}
		})
	}
}

// checkEnvoyResponse checks a response that curl -i printed for the headers that Envoy sets.
func checkEnvoyResponse(t *testing.T, got harness.Result, body string) {
	t.Helper()
	head, rest, _ := strings.Cut(got.Out, "\r\n\r\n")
	if got.Status != 0 || !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || strings.TrimSpace(rest) != body {
		t.Fatalf("status %d\n%s\n%s", got.Status, got.Out, got.Err)
	}
	for _, line := range []string{`server: envoy`, `x-envoy-upstream-service-time: \d+`, `date: \w{3}, .* GMT`} {
		if !regexp.MustCompile(`(?m)^` + line + `\r?$`).MatchString(head) {
			t.Errorf("no line %q in\n%s", line, head)
		}
	}
}
