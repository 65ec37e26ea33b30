package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestPodsAndUpgrade has one weir take over from another while a pod connects all the time: each of its connections is captured and
// answered.
func TestPodsAndUpgrade(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.HTTPBackend("shop", "10.60.0.1:8080")
	pods := harness.NewCgroup(t)
	options := func(epoch int) harness.WeirOptions {
		return harness.WeirOptions{
			Config: containers(backend.Addr), Capture: []*harness.Cgroup{pods}, Interception: userSpace,
			Flags: []string{
				fmt.Sprintf("--base-id=%d", 100000+os.Getpid()%100000), fmt.Sprintf("--restart-epoch=%d", epoch),
				"--drain-time-s=1", "--parent-shutdown-time-s=2",
			},
		}
	}
	one := newPod(t, node, pods, "one", "192.0.2.0/30")
	first := node.StartWeir(options(0))
	served(t, first, one)
	enough := filepath.Join(t.TempDir(), "enough")
	client := one.app.Start("sh", "-c", `
bad=0
while [ ! -e "$1" ]; do
	[ "$(curl -s --max-time 5 http://10.99.0.1/)" = shop ] || bad=$((bad+1))
done
echo $bad`, "sh", enough)
	second := node.StartWeir(options(1))
	<-first.Ended()
	served(t, second, one)
	second.AwaitStat("http.ingress.downstream_rq_total", func(n int) bool { return n > 1 })
	if err := os.WriteFile(enough, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantOK(t, client.Wait(), "0")
}
