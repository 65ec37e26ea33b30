package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/test/harness"
)

// An application that is captured but cannot reach weir, here since it lives in another network namespace and weir serves its own
// only, goes its own way or is refused, as the policy says.
func TestFailPolicy(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	for _, tc := range []struct {
		policy string
		want   harness.Connected
	}{
		{"OPEN", harness.Connected{Peer: "10.50.0.1:7000", Received: "direct", End: "eof"}},
		{"CLOSED", harness.Connected{Failed: "ECONNREFUSED"}},
	} {
		t.Run(tc.policy, func(t *testing.T) {
			t.Parallel()
			proxied, other := harness.NewHost(t).AddAddress("10.50.0.1"), harness.NewHost(t).AddAddress("10.50.0.1")
			proxied.TCPBackend("10.50.0.1:7000", harness.Greets("proxied"))
			other.TCPBackend("10.50.0.1:7000", harness.Greets("direct"))
			group := harness.NewCgroup(t)
			weir := proxied.StartWeir(harness.WeirOptions{
				Config: passthrough(), Capture: []*harness.Cgroup{group}, Interception: "namespaces: {own_only: true}, fail_policy: " + tc.policy,
			})
			to := harness.Connect{To: "10.50.0.1:7000", HalfClose: true}
			if got := proxied.App().In(group).Connect(to); got.Received != "proxied" {
				t.Fatalf("weir's own host: %+v", got)
			}
			if got := other.App().In(group).Connect(to); got != tc.want {
				t.Errorf("got %+v\nwant %+v", got, tc.want)
			}
			wantContains(t, "interception status", weir.Page("/weir/interception"), "other_netns")
		})
	}
}

// A daemon that dies takes its captured connections with it, and nothing else: the application's next connections go where it
// sends them, those that were not captured live on, and nothing stays attached.
func TestKilledDaemonLeavesTheHostWorking(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t).AddAddress("10.50.0.1")
	backend := host.TCPBackend("10.50.0.1:7000", harness.Echo)
	group := harness.NewCgroup(t)
	weir := host.StartWeir(harness.WeirOptions{Config: passthrough(), Capture: []*harness.Cgroup{group}, Interception: "fail_policy: CLOSED"})
	app, echo := host.App().In(group), harness.Connect{To: "10.50.0.1:7000", Send: "x", HalfClose: true}
	bystander := host.MustDial("10.50.0.1:7000")
	if got := app.Connect(echo); got.Received != "x" {
		t.Fatalf("before: %+v", got)
	}
	if attached, err := intercept.Attached(group.Dir); err != nil || !attached {
		t.Fatalf("attached: %t, %v", attached, err)
	}
	weir.Kill()
	harness.EventuallyNil(t, "the kernel lets go", func() error {
		attached, err := intercept.Attached(group.Dir)
		if err == nil && attached {
			err = fmt.Errorf("programs are still attached")
		}
		return err
	})
	before := backend.Accepted()
	if got := app.Connect(echo); got.Received != "x" || got.End != "eof" || got.Peer != "10.50.0.1:7000" {
		t.Errorf("after: %+v", got)
	}
	if backend.Accepted() != before+1 {
		t.Errorf("the backend got %d connections", backend.Accepted()-before)
	}
	if _, err := io.WriteString(bystander, "still"); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(bystander, buf); err != nil || string(buf) != "still" {
		t.Errorf("a connection that was not captured: %q, %v", buf, err)
	}
}

// A clean end detaches as well, and another daemon can take over at once.
func TestStopDetaches(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t).AddAddress("10.50.0.1")
	host.TCPBackend("10.50.0.1:7000", harness.Echo)
	group := harness.NewCgroup(t)
	for range 2 {
		weir := host.StartWeir(harness.WeirOptions{Config: passthrough(), Capture: []*harness.Cgroup{group}})
		if got := host.App().In(group).Connect(harness.Connect{To: "10.50.0.1:7000", Send: "x", HalfClose: true}); got.Received != "x" {
			t.Errorf("got %+v", got)
		}
		weir.AwaitStat("cluster.passthrough.upstream_cx_total", func(n int) bool { return n == 1 })
		if status := weir.Stop(); status != 0 {
			t.Errorf("status %d", status)
		}
		if attached, err := intercept.Attached(group.Dir); err != nil || attached {
			t.Errorf("attached: %t, %v", attached, err)
		}
	}
}

// Without privileges interception is refused with a message that says what is missing; the rest works.
func TestInterceptionWithoutPrivileges(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		required bool
	}{{"optional", false}, {"required", true}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			backend := host.HTTPBackend("backend", "127.0.0.1:0")
			route := []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "backend")))}
			config := harness.Bootstrap{
				Listeners: []string{
					harness.Listener{Name: "virtual", Address: "10.99.0.1:80", Virtual: true, Chains: route}.YAML(),
					harness.Listener{Name: "bound", Address: "127.0.0.1:8080", Chains: route}.YAML(),
				},
				Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
				More: fmt.Sprintf(`bootstrap_extensions: [{name: weir.interception, typed_config: {`+
					`"@type": type.googleapis.com/weir.interception.v1.Interception, required: %t}}]`, tc.required),
			}
			weir := host.StartWeir(harness.WeirOptions{Config: config.YAML(), Bare: true, User: harness.Nobody, NotReady: tc.required})
			if tc.required {
				if status := weir.Wait(); status != 1 {
					t.Errorf("status %d, want 1", status)
				}
			} else {
				wantOK(t, host.App().Curl("http://127.0.0.1:8080/"), "backend")
			}
			if log := weir.Log(); !strings.Contains(log, "CAP_BPF") {
				t.Errorf("the log does not name the capability that is missing:\n%s", log)
			} else if strings.Contains(log, "map type") || strings.Contains(log, "MEMLOCK") || tc.required && (strings.Contains(log, "works") || strings.Contains(log, "configuration")) {
				t.Errorf("the log leads astray:\n%s", log)
			}
		})
	}
}
