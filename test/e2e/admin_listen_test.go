package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// bareAdmin starts a weir of which only the admin interface is configured, and gives its address.
func bareAdmin(t *testing.T, host *harness.Host, config string) (*harness.Weir, string) {
	t.Helper()
	file := filepath.Join(harness.Dir(t), "address")
	weir := host.StartWeir(harness.WeirOptions{Bare: true, Config: config, Flags: []string{"--admin-address-path", file}})
	address, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return weir, string(address)
}

func TestAdminAtAnyPort(t *testing.T) {
	t.Parallel()
	for ip, reach := range map[string]string{"127.0.0.1": "127.0.0.1", "::1": "::1", "::": "::1"} {
		t.Run(ip, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			_, address := bareAdmin(t, host, fmt.Sprintf("admin: {address: {socket_address: {address: %q, port_value: 0}}}", ip))
			at, err := netip.ParseAddrPort(address)
			if err != nil || at.Port() == 0 || at.Addr() != netip.MustParseAddr(ip) {
				t.Fatalf("address %q, %v", address, err)
			}
			wantOK(t, host.App().Curl("-g", fmt.Sprintf("http://%s/ready", net.JoinHostPort(reach, fmt.Sprint(at.Port())))), "LIVE")
		})
	}
}

func TestAdminAccessLog(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	dir := harness.Dir(t)
	all, bad := filepath.Join(dir, "all"), filepath.Join(dir, "bad")
	const logger = `{name: envoy.access_loggers.file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: %s}%s}`
	_, address := bareAdmin(t, host, fmt.Sprintf(`admin: {access_log: [%s], access_log_path: %s, address: {socket_address: {address: 127.0.0.1, port_value: 0}}}`,
		fmt.Sprintf(logger, bad, `, filter: {status_code_filter: {comparison: {op: GE, value: {default_value: 400, runtime_key: x}}}}`), all))
	host.App().Curl("-A", "probe/1", "-H", "x-request-id: id1", "http://"+address+"/ready?x=y")
	host.App().Curl("-X", "POST", "http://"+address+"/nowhere")
	line := regexp.MustCompile(`^\[[^]]+\] "GET /ready\?x=y HTTP/1\.1" 200 - 0 5 \d+ - "[0-9a-f.:]+" "probe/1" "id1" "127\.0\.0\.1:\d+" "-"$`)
	harness.Eventually(t, "both requests are logged", func() bool { return len(linesOf(all)) == 2 && len(linesOf(bad)) == 1 })
	if got := linesOf(all)[0]; !line.MatchString(got) {
		t.Errorf("%q is not Envoy's default format", got)
	}
	wantContains(t, "the filtered log", linesOf(bad)[0], `"POST /nowhere HTTP/1.1" 404 `)
}

// linesOf is a file's lines; none while there is no file.
func linesOf(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")[:strings.Count(string(text), "\n")]
}

func TestAdminAllowsSomePaths(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	_, address := bareAdmin(t, host, `admin: {allow_paths: [{exact: /ready}, {prefix: /stats}], ignore_global_conn_limit: true, address: {socket_address: {address: 127.0.0.1, port_value: 0}}}`)
	for path, want := range map[string]int{"/ready": http.StatusOK, "/stats/prometheus?usedonly": http.StatusOK, "/config_dump": http.StatusForbidden, "/quitquitquit": http.StatusForbidden} {
		got := host.App().Curl("-X", "POST", "-o", "/dev/null", "-w", "%{http_code}", "http://"+address+path)
		if got.Out != fmt.Sprint(want) {
			t.Errorf("%s: %s, want %d", path, got.Out, want)
		}
	}
}

func TestAdminProfiles(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	path := filepath.Join(harness.Dir(t), "prof")
	_, address := bareAdmin(t, host, fmt.Sprintf(`admin: {profile_path: %s, address: {socket_address: {address: 127.0.0.1, port_value: 0}}}`, path))
	for _, query := range []string{"/cpuprofiler?enable=y", "/cpuprofiler?enable=n"} {
		wantOK(t, host.App().Curl("-X", "POST", "http://"+address+query), "OK")
	}
	if raw, err := os.ReadFile(path); err != nil || len(raw) < 2 || raw[0] != 0x1f || raw[1] != 0x8b {
		t.Errorf("no profile: %v", err)
	}
}
