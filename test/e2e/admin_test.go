package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

func TestAdmin(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t)
	v4, v6 := host.HTTPBackend("four", "127.0.0.1:0"), host.HTTPBackend("six", "[::1]:0")
	group := harness.NewCgroup(t)
	weir := host.StartWeir(harness.WeirOptions{Config: shop(host, v4, v6), Capture: []*harness.Cgroup{group}})
	wantOK(t, host.App().In(group).Curl("http://10.99.0.1/"), "four")

	t.Run("pages", func(t *testing.T) {
		for path, parts := range map[string][]string{
			"/":                        {"<html", "/clusters"},
			"/help":                    {"admin commands are:", "  /config_dump: "},
			"/ready":                   {"LIVE\n"},
			"/server_info":             {`"state": "LIVE"`, `"version": "`, "/1.32.0/"},
			"/stats":                   {"cluster.v4.upstream_rq_200: 1\n", "server.live: 1\n", "http.ingress.downstream_rq_total: 1\n"},
			"/stats?format=json":       {`"name":"cluster.v4.upstream_rq_200"`},
			"/stats/prometheus":        {`envoy_cluster_upstream_rq_total{envoy_cluster_name="v4"} 1`},
			"/stats?format=prometheus": {`envoy_server_live{} 1`},
			"/clusters": {
				"v4::default_priority::max_connections::1024\n", fmt.Sprintf("v4::%s::rq_total::1\n", v4.Addr),
				fmt.Sprintf("v6::%s::health_flags::healthy\n", v6.Addr), "v4::added_via_api::false\n",
			},
			"/clusters?format=json":       {`"name": "v4"`},
			"/listeners":                  {"v4::10.99.0.1:80\n", "v6::[fd00:99::1]:80\n"},
			"/listeners?format=json":      {`"name": "v4"`},
			"/runtime":                    {`"layers"`},
			"/certs":                      {`"certificates"`},
			"/memory":                     {`"allocated"`},
			"/weir/interception":          {group.Name, "weir_connect4", "10.99.0.1", "captured", "fd00:99::1"},
			"/stats?filter=^server.state": {"server.state: 0\n"},
		} {
			wantContains(t, path, weir.Page(path), parts...)
		}
	})
	t.Run("filter", func(t *testing.T) {
		for line := range strings.Lines(weir.Page("/stats?filter=^cluster%5C.v4%5C.upstream_rq")) {
			if !strings.HasPrefix(line, "cluster.v4.upstream_rq") {
				t.Errorf("filtered statistics have %s", line)
			}
		}
	})
	t.Run("config_dump", func(t *testing.T) { checkConfigDump(t, weir) })
	t.Run("errors", func(t *testing.T) {
		if status, body := weir.Get("/nowhere"); status != http.StatusNotFound || !strings.Contains(body, "admin commands are:") {
			t.Errorf("unknown path: %d", status)
		}
		if status, _ := weir.Get("/quitquitquit"); status != http.StatusMethodNotAllowed && status != http.StatusBadRequest {
			t.Errorf("GET that changes something: %d", status)
		}
	})
	t.Run("commands", func(t *testing.T) { checkCommands(t, host, weir, group) })
}

func checkConfigDump(t *testing.T, weir *harness.Weir) {
	var dump struct {
		Configs []struct {
			Type            string `json:"@type"`
			StaticListeners []struct {
				Listener struct {
					Name string `json:"name"`
				} `json:"listener"`
			} `json:"static_listeners"`
		} `json:"configs"`
	}
	weir.JSON("/config_dump", &dump)
	var types, listeners []string
	for _, c := range dump.Configs {
		types = append(types, c.Type[strings.LastIndex(c.Type, ".")+1:])
		for _, l := range c.StaticListeners {
			listeners = append(listeners, l.Listener.Name)
		}
	}
	order := []string{"BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump"}
	at := slices.Collect(func(yield func(int) bool) {
		for _, name := range order {
			if !yield(slices.Index(types, name)) {
				return
			}
		}
	})
	if slices.Contains(at, -1) || !slices.IsSorted(at) {
		t.Errorf("parts %v, want %v in this order", types, order)
	}
	slices.Sort(listeners)
	if !slices.Equal(listeners, []string{"v4", "v6"}) {
		t.Errorf("static listeners %v", listeners)
	}
}

// checkCommands runs the commands that change something; the last ends the process.
func checkCommands(t *testing.T, host *harness.Host, weir *harness.Weir, group *harness.Cgroup) {
	post := func(path string) {
		t.Helper()
		if status, body := weir.Post(path); status != http.StatusOK {
			t.Errorf("POST %s: %d %s", path, status, body)
		}
	}
	post("/healthcheck/fail")
	if weir.Ready() {
		t.Error("ready after /healthcheck/fail")
	}
	post("/healthcheck/ok")
	harness.Eventually(t, "ready again", weir.Ready)
	post("/reset_counters")
	if n := weir.Stat("cluster.v4.upstream_rq_total"); n != 0 {
		t.Errorf("a counter is %d after the reset", n)
	}
	post("/logging?level=debug")
	wantContains(t, "/logging", func() string { _, body := weir.Post("/logging"); return body }(), "debug")
	post("/drain_listeners")
	harness.Eventually(t, "nothing is captured after the listeners have gone", func() bool {
		return host.App().In(group).Curl("--max-time", "3", "http://10.99.0.1/").Status != 0
	})
	post("/quitquitquit")
	if status := weir.Wait(); status != 0 {
		t.Errorf("status %d after /quitquitquit", status)
	}
}

func TestAdminOnUnixSocket(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	dir := harness.Dir(t)
	socket, addressFile := filepath.Join(dir, "admin.sock"), filepath.Join(dir, "address")
	host.StartWeir(harness.WeirOptions{
		Config: fmt.Sprintf("admin: {address: {pipe: {path: %s}}}\n", socket), Bare: true,
		Flags: []string{"--admin-address-path", addressFile},
	})
	wantOK(t, host.App().Curl("--unix-socket", socket, "http://admin/ready"), "LIVE")
	if text, err := os.ReadFile(addressFile); err != nil || strings.TrimSpace(string(text)) != socket {
		t.Errorf("--admin-address-path: %q, %v", text, err)
	}
}

func TestGracefulDrainEndsCaptureAfterTheDrainTime(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t)
	v4, v6 := host.HTTPBackend("four", "127.0.0.1:0"), host.HTTPBackend("six", "[::1]:0")
	group := harness.NewCgroup(t)
	weir := host.StartWeir(harness.WeirOptions{
		Config: shop(host, v4, v6), Capture: []*harness.Cgroup{group}, Flags: []string{"--drain-time-s", "1"},
	})
	wantOK(t, host.App().In(group).Curl("http://10.99.0.1/"), "four")
	if status, body := weir.Post("/drain_listeners?graceful"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	harness.Eventually(t, "nothing is captured after the drain time", func() bool {
		return host.App().In(group).Curl("--max-time", "3", "http://10.99.0.1/").Status != 0
	})
}
