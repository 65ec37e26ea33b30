package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

const badBootstrap = `static_resources:
  listeners:
  - name: main
    adress: {socket_address: {address: 127.0.0.1, port_value: 8080}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          codec_type: HTTP9
  clusters:
  - name: backend
    connect_timeout: soon
`

// Every error is told at once, with the place in the file and in the message.
func TestBadBootstrap(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	file := filepath.Join(harness.Dir(t), "bad.yaml")
	harness.WriteFile(t, file, badBootstrap)
	for _, mode := range []string{"serve", "validate"} {
		got := host.App().As(harness.Nobody).Run(harness.Binary("weir"), "-c", file, "--mode", mode)
		if got.Status != 1 {
			t.Errorf("mode %s: status %d, want 1", mode, got.Status)
		}
		wantContains(t, "mode "+mode+": stderr", got.Err,
			file+":4:", `listener "main": adress`, `"address"`,
			file+":11:", "codec_type", "HTTP9",
			file+":14:", `cluster "backend": connect_timeout`, "soon",
		)
	}
}

// A configuration can be well formed and still not hold together.
func TestUnusableBootstrap(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	for _, tc := range []struct {
		name, config string
		want         []string
	}{
		{"route to an unknown cluster", harness.Bootstrap{Listeners: []string{harness.Listener{
			Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "nowhere")))},
		}.YAML()}}.YAML(), []string{"nowhere"}},
		{"filter that weir has not", harness.Bootstrap{Listeners: []string{harness.Listener{
			Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(unimplemented)},
		}.YAML()}}.YAML(), []string{"main", "mongo_proxy"}},
		{"two clusters of one name", harness.Bootstrap{Clusters: []string{harness.Cluster("twice", nil), harness.Cluster("twice", nil)}}.YAML(), []string{"twice"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(harness.Dir(t), "unusable.yaml")
			harness.WriteFile(t, file, tc.config)
			got := host.App().Run(harness.Binary("weir"), "-c", file)
			if got.Status != 1 {
				t.Errorf("status %d, want 1", got.Status)
			}
			wantContains(t, "stderr", got.Err, tc.want...)
		})
	}
}

func TestValidateAsNobody(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	file := filepath.Join(harness.Dir(t), "good.yaml")
	harness.WriteFile(t, file, shop(host, backend, backend))
	app := host.App().As(harness.Nobody)
	if got := app.Run(harness.Binary("weir"), "-c", file, "--mode", "validate"); got.Status != 0 || !strings.Contains(got.Out, "OK") {
		t.Errorf("weir --mode validate: status %d\n%s%s", got.Status, got.Out, got.Err)
	}
	if got := app.Run(harness.Binary("weirctl"), "validate", file); got.Status != 0 || !strings.Contains(got.Out, "OK") {
		t.Errorf("weirctl validate: status %d\n%s%s", got.Status, got.Out, got.Err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := harness.NewHost(t).App().Run(harness.Binary("weir"), "--version")
	if got.Status != 0 || !regexp.MustCompile(`^\nweir  version: [^/]+/1\.32\.\d+/[^/]+/[^/]+/[^/]+\n`).MatchString(got.Out) {
		t.Errorf("status %d, %q: want Envoy's five parts", got.Status, got.Out)
	}
}

// A port that is taken is an error that says so, and the process does not stay.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	taken := host.Listen("127.0.0.1:8080")
	defer taken.Close()
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	weir := host.StartWeir(harness.WeirOptions{Config: reverseProxy(backend), NotReady: true})
	if status := weir.Wait(); status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	wantContains(t, "stderr", weir.Log(), "main", "127.0.0.1:8080", "address already in use")
}

// A request that is under way when the process is told to end gets its whole answer; new connections are refused.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	release := make(chan struct{})
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/slow", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "first half, ")
		_ = http.NewResponseController(w).Flush()
		<-release
		fmt.Fprint(w, "second half")
	}))
	weir := host.StartWeir(harness.WeirOptions{Config: reverseProxy(backend), Flags: []string{"--drain-time-s", "30"}})
	idle := host.MustDial("127.0.0.1:8080")
	if _, body := get(t, idle, "/"); body != "backend" {
		t.Fatalf("got %q", body)
	}
	conn := host.MustDial("127.0.0.1:8080")
	fmt.Fprint(conn, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	weir.Signal(syscall.SIGTERM)
	harness.Eventually(t, "new connections are refused", func() bool {
		c, err := host.Dial(t.Context(), "tcp", "127.0.0.1:8080")
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case <-weir.Ended():
		t.Error("the process did not wait for the request")
	default:
	}
	close(release)
	if body, err := io.ReadAll(resp.Body); string(body) != "first half, second half" || err != nil {
		t.Errorf("got %q, %v", body, err)
	}
	if status := weir.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if _, err := io.ReadAll(idle); err != nil {
		t.Errorf("the idle connection ended with %v", err)
	}
}
