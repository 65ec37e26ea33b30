package e2e

import (
	"fmt"
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
