package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// rig is a host with a weir on 127.0.0.1:8080, for tests of the router filter.
type rig struct {
	*testing.T
	host   *harness.Host
	weir   *harness.Weir
	client *http.Client
}

// rigConfig is what differs between the tests.
type rigConfig struct {
	routes, clusters []string
	host             string // more fields of the virtual host, each followed by ", "
	router           string // fields of the router filter
	manager          string // more fields of the connection manager
	more             string // more lines of the bootstrap
}

const routerType = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

// startRig starts weir. As all clients are local, requests count as internal and may carry x-envoy-* headers.
func startRig(t *testing.T, host *harness.Host, c rigConfig) *rig {
	t.Helper()
	if c.router != "" {
		c.router = ", " + c.router
	}
	if c.manager != "" {
		c.manager = ", " + c.manager
	}
	manager := fmt.Sprintf(`{name: http, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, `+
		`stat_prefix: ingress, use_remote_address: true, http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": %s%s}}], `+
		`route_config: {name: local_route, virtual_hosts: [{%sname: all, domains: ["*"], routes: [%s]}]}, `+
		`access_log: [{name: log, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, `+
		`log_format: {text_format_source: {inline_string: "%%REQ(:PATH)%% %%RESPONSE_CODE%% %%RESPONSE_FLAGS%% %%RESPONSE_CODE_DETAILS%% %%UPSTREAM_REQUEST_ATTEMPT_COUNT%%\n"}}}}]%s}}`,
		routerType, c.router, c.host, strings.Join(c.routes, ", "), c.manager)
	w := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(manager)}}.YAML()},
		Clusters:  c.clusters, More: c.more,
	}.YAML()})
	client := host.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &rig{T: t, host: host, weir: w, client: client}
}

// get asks for a path with headers, each "name: value".
func (r *rig) get(path string, headers ...string) (*http.Response, string) {
	r.Helper()
	return r.send("GET", path, "", headers...)
}

func (r *rig) send(method, path, body string, headers ...string) (*http.Response, string) {
	r.Helper()
	resp, text, err := r.try(method, path, strings.NewReader(body), headers...)
	if err != nil {
		r.Fatal(err)
	}
	return resp, text
}

func (r *rig) try(method, path string, body io.Reader, headers ...string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(r.Context(), method, "http://127.0.0.1:8080"+path, body)
	if err != nil {
		return nil, "", err
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		if k == "host" {
			req.Host = v
		}
		req.Header.Add(k, v)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return resp, string(text), err
}

// want fails unless the response has a status and a body, white space around it aside; "" leaves the body open.
func (r *rig) want(status int, body string) func(*http.Response, string) {
	return func(resp *http.Response, got string) {
		r.Helper()
		if resp.StatusCode != status || body != "" && strings.TrimSpace(got) != body {
			r.Errorf("status %d, body %q; want %d, %q", resp.StatusCode, got, status, body)
		}
	}
}

// stats waits until each statistic has its value.
func (r *rig) stats(want map[string]int) {
	r.Helper()
	for name, n := range want {
		r.weir.AwaitStat(name, func(got int) bool { return got == n })
	}
}

// logged waits for a line of the access log.
func (r *rig) logged(line string) {
	r.Helper()
	harness.EventuallyNil(r, "the access log", func() error {
		for l := range strings.SplitSeq(r.weir.Stdout(), "\n") {
			if l == line {
				return nil
			}
		}
		return fmt.Errorf("no line %q in:\n%s", line, r.weir.Stdout())
	})
}
