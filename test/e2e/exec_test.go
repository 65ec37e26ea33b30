package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/test/harness"
)

// shop is a bootstrap whose only listeners are at addresses that exist nowhere.
func shop(host *harness.Host, v4, v6 *harness.HTTPBackend) string {
	return harness.Bootstrap{
		Listeners: []string{
			harness.Listener{Name: "v4", Address: "10.99.0.1:80", Virtual: true, Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "v4")))}}.YAML(),
			harness.Listener{Name: "v6", Address: "[fd00:99::1]:80", Virtual: true, Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "v6")))}}.YAML(),
		},
		Clusters: []string{harness.Cluster("v4", harness.To(v4.Addr)), harness.Cluster("v6", harness.To(v6.Addr))},
	}.YAML()
}

func TestExec(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t)
	v4, v6 := host.HTTPBackend("four", "127.0.0.1:0"), host.HTTPBackend("six", "[::1]:0")
	file := filepath.Join(harness.Dir(t), "shop.yaml")
	harness.WriteFile(t, file, shop(host, v4, v6))
	app := host.App()
	exec := func(command ...string) harness.Result {
		t.Helper()
		return app.Run(append([]string{harness.Binary("weirctl"), "exec", "-c", file, "--"}, command...)...)
	}
	for _, tc := range []struct{ name, url, want string }{
		{"IPv4", "http://10.99.0.1/", "four"},
		{"IPv6", "http://[fd00:99::1]/", "six"},
		{"IPv4-mapped", "http://[::ffff:10.99.0.1]/", "four"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantOK(t, exec("curl", "-sS", "--max-time", "10", tc.url), tc.want)
			if got := app.Curl("--max-time", "3", tc.url); got.Status == 0 {
				t.Errorf("reached without exec: %s", got.Out)
			}
		})
	}
	for _, tc := range []struct {
		name, script string
		want         int
	}{{"exit", "exit 7", 7}, {"signal", "kill -TERM $$", 143}, {"success", "exit 0", 0}} {
		t.Run("status after "+tc.name, func(t *testing.T) {
			got := exec("sh", "-c", tc.script)
			if got.Status != tc.want {
				t.Errorf("status %d, want %d\n%s", got.Status, tc.want, got.Err)
			}
			wantNoPrivateCgroup(t, got.Pid)
		})
	}
}

// wantNoPrivateCgroup checks that weirctl, which had this pid, took its cgroup away.
func wantNoPrivateCgroup(t *testing.T, pid int) {
	t.Helper()
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(h.Root(), fmt.Sprintf("weir.private.%d", pid))); err == nil {
		t.Error("the private cgroup is left")
	}
}

func TestExecSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	file := filepath.Join(harness.Dir(t), "bad.yaml")
	harness.WriteFile(t, file, "static_resources: {listeners: [{name: x, adress: {}}]}\n")
	got := host.App().Run(harness.Binary("weirctl"), "exec", "-c", file, "--", "true")
	if got.Status == 0 || !strings.Contains(got.Err, "adress") {
		t.Errorf("status %d:\n%s", got.Status, got.Err)
	}
}

// weirctl passes signals on, cleans up after its command, and takes its private weir with it even when it is killed.
func TestExecSignals(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	for _, tc := range []struct {
		signal syscall.Signal
		want   int
	}{{syscall.SIGTERM, 143}, {syscall.SIGKILL, 137}} {
		t.Run(tc.signal.String(), func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			backend := host.HTTPBackend("backend", "127.0.0.1:0")
			dir := harness.Dir(t)
			file, started := filepath.Join(dir, "shop.yaml"), filepath.Join(dir, "started")
			harness.WriteFile(t, file, shop(host, backend, backend))
			p := host.App().Start(harness.Binary("weirctl"), "exec", "-c", file, "--", "sh", "-c", "echo $$ > "+started+"; exec sleep 60")
			var child int
			harness.Eventually(t, "the command runs", func() bool {
				text, err := os.ReadFile(started)
				if err != nil {
					return false
				}
				child, err = strconv.Atoi(strings.TrimSpace(string(text)))
				return err == nil
			})
			t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) }) // it has ended unless weirctl was killed
			p.Signal(tc.signal)
			if got := p.Wait(); got.Status != tc.want {
				t.Errorf("status %d, want %d\n%s", got.Status, tc.want, got.Err)
			}
			harness.Eventually(t, "the private weir ends", func() bool { return !host.Runs("weir") })
			if tc.signal == syscall.SIGTERM {
				wantNoPrivateCgroup(t, p.Pid())
				return
			}
			// Nobody is left to take the cgroup away; the test does.
			if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			removePrivateCgroup(t, p.Pid())
		})
	}
}

func removePrivateCgroup(t *testing.T, pid int) {
	t.Helper()
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	harness.EventuallyNil(t, "the cgroup is empty", func() error {
		return h.Remove(filepath.Join(h.Root(), fmt.Sprintf("weir.private.%d", pid)))
	})
}
