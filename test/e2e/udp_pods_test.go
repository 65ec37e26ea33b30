package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// Datagrams of an application in another network namespace come to weir, which sends them on from there or from its own; when the pod
// has gone, nothing holds its namespace.
func TestUDPOfPods(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	for _, upstream := range []string{"CALLER", "HOST"} {
		t.Run(upstream, func(t *testing.T) {
			node, pods := harness.NewHost(t), harness.NewCgroup(t)
			p := newPod(t, node, pods, "pod", "")
			behind := p.Host
			if upstream == "HOST" {
				behind = node
			}
			backend := udpBackend(t, behind, "got ")
			weir := node.StartWeir(harness.WeirOptions{
				Config: harness.Bootstrap{
					Listeners: []string{udpListener("v4", "0.0.0.0:53", true, "cluster: backend"), udpListener("v6", "[::]:53", true, "cluster: backend")},
					Clusters:  []string{harness.Cluster("backend", harness.To(backend))},
				}.YAML(),
				Capture: []*harness.Cgroup{pods}, Interception: "namespaces: {upstream: " + upstream + "}",
			})
			served(t, weir, p)
			for _, ip := range []string{"10.99.0.1", "fd00:99::1"} {
				got := p.app.Python(udpClient, ip, "53")
				if want := fmt.Sprintf("got c %s\ngot u %s 53", ip, ip); strings.TrimSpace(got.Out) != want {
					t.Errorf("%s: got %+v\nwant %q\n%s", ip, got, want, weir.Log())
				}
			}
			p.end()
			harness.EventuallyNil(t, "the pod to be left", func() error {
				if n := len(servedNamespaces(weir)); n > 0 {
					return fmt.Errorf("%d namespaces are served", n)
				}
				return nil
			})
			weir.AwaitStat("udp.v4.downstream_sess_active", func(n int) bool { return n == 0 })
		})
	}
}

// A pod whose loopback device is down has no capture sockets for IPv6, and none for connections. It gets them when the device comes up,
// whether weir had something to capture when it saw the pod first or later.
func TestUDPOfPodWithLateLoopback(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late listeners %t", late), func(t *testing.T) {
			node, pods := harness.NewHost(t), harness.NewCgroup(t)
			p := newPod(t, node, pods, "pod", "")
			wantOK(t, p.App().Run("ip", "link", "set", "lo", "down"), "")
			listeners := []string{udpListener("v4", "0.0.0.0:53", true, "cluster: backend"), udpListener("v6", "[::]:53", true, "cluster: backend")}
			lds := filepath.Join(harness.Dir(t), "lds.yaml")
			harness.WriteFile(t, lds, listenersFile(nil))
			conf := harness.Bootstrap{
				Listeners: []string{harness.Listener{Name: "any", Address: "10.99.0.9:80", Virtual: true, Chains: []string{harness.Chain(harness.TCP("backend"))}}.YAML()},
				Clusters:  []string{harness.Cluster("backend", harness.To(udpBackend(t, node, "got ")))},
				More:      "dynamic_resources: {lds_config: {path_config_source: {path: " + lds + "}}}",
			}
			if !late {
				conf.Listeners = append(conf.Listeners, listeners...)
			}
			weir := node.StartWeir(harness.WeirOptions{
				Config: conf.YAML(), Capture: []*harness.Cgroup{pods}, Interception: "namespaces: {upstream: HOST}",
			})
			harness.Eventually(t, "the pod is seen", func() bool { return len(servedNamespaces(weir)) == 1 })
			if late {
				harness.WriteFile(t, lds, listenersFile(listeners))
				weir.AwaitStat("listener_manager.total_listeners_active", func(n int) bool { return n == 3 })
			}
			wantOK(t, p.App().Run("ip", "link", "set", "lo", "up"), "")
			served(t, weir, p)
			harness.EventuallyNil(t, "datagrams of both families", func() error {
				for _, ip := range []string{"10.99.0.1", "fd00:99::1"} {
					got := p.app.Python(udpClient, ip, "53")
					if want := fmt.Sprintf("got c %s\ngot u %s 53", ip, ip); strings.TrimSpace(got.Out) != want {
						return fmt.Errorf("%s: got %+v", ip, got)
					}
				}
				return nil
			})
		})
	}
}

// listenersFile is a file of listeners.
func listenersFile(listeners []string) string {
	text := fmt.Sprintf("version_info: \"%d\"\nresources:\n", len(listeners))
	for _, l := range listeners {
		text += `- {"@type": type.googleapis.com/envoy.config.listener.v3.Listener, ` + strings.TrimPrefix(l, "{") + "\n"
	}
	return text
}
