package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// explained has weirctl explain a connection.
func explained(t *testing.T, on *harness.Host, args ...string) string {
	t.Helper()
	got := on.App().Run(append([]string{harness.Binary("weirctl"), "explain", "--admin", harness.AdminAddr}, args...)...)
	if got.Status != 0 {
		return fmt.Sprintf("status %d: %s", got.Status, got.Err)
	}
	return got.Out
}

// TestExplainSources asks about connections of every kind of caller, and compares with what the callers meet.
func TestExplainSources(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.HTTPBackend("shop", "10.60.0.1:8080")
	pods, other := harness.NewCgroup(t), harness.NewCgroup(t)
	one := newPod(t, node, pods, "one", "192.0.2.0/30")
	free := newPod(t, node, other, "free", "192.0.2.8/30")
	weir := node.StartWeir(harness.WeirOptions{Config: containers(backend.Addr), Capture: []*harness.Cgroup{pods}, Interception: userSpace})
	served(t, weir, one)
	wantOK(t, one.app.Curl("http://10.99.0.1/"), "shop")
	name := func(c *harness.Cgroup) string { return c.Dir[strings.LastIndexByte(c.Dir, '/')+1:] }
	onePID, freePID := fmt.Sprintf("pid:%d", one.pause.Pid()), fmt.Sprintf("pid:%d", free.pause.Pid())
	captured := []string{"redirect to weir's capture socket 127.0.0.1:", "captured: ", "cluster shop", "another one than weir's"}
	for _, src := range []string{onePID, "cgroup:" + one.group.Dir, one.group.Dir} {
		wantContains(t, "explain "+src, explained(t, node, src, "http://10.99.0.1/"), append(captured, name(one.group), "below")...)
	}
	wantContains(t, "explain of the pod's address", explained(t, node, one.addr.String(), "10.99.0.1:80"), "has the address "+one.addr.String(), "captured: ", "cluster shop")
	wantContains(t, "explain of who is not captured", explained(t, node, freePID, "10.99.0.1:80"), "does not see this connection", "where weir's programs are attached")
	wantContains(t, "explain of the host", explained(t, node, "host", "listener:shop"), "not given; the answer holds", "cluster shop")
	wantContains(t, "explain of an address elsewhere", explained(t, node, "203.0.113.7", "10.99.0.1:80"), "no address of this host", "begins on another host")
	wantContains(t, "nobody", explained(t, node, "no-such-thing", "10.99.0.1:80"), "status 1", "no container, process or network namespace is called so")
	wantContains(t, "no listener", explained(t, node, "host", "listener:shoq"), "status 1", "there is no such listener", "shop")
	var answer struct {
		Outcome string
		Steps   []struct{ Step, Result string }
	}
	if err := json.Unmarshal([]byte(explained(t, node, "--json", onePID, "10.99.0.1:80")), &answer); err != nil || answer.Outcome != "forwarded" || answer.Steps[0].Step != "caller" {
		t.Errorf("JSON: %+v (%v)", answer, err)
	}
}

// TestExplainArrival asks about connections from another host to a captured server.
func TestExplainArrival(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "inbound: {}", virtualInbound(""))
	h.serve(true, "0.0.0.0", "8080")
	h.serve(false, "0.0.0.0", "8081")
	h.want(h.far, nearAddr+":8080", "app "+nearAddr, nearAddr+":8080 "+farAddr)
	wantContains(t, "from afar", explained(t, h.near, "203.0.113.7", "http://"+nearAddr+":8080/"),
		"begins on another host", "arrival", "given to weir's listening socket", "captured: ", "virtualInbound", "chain", "cluster inbound")
	wantContains(t, "from the host", explained(t, h.near, "host", nearAddr+":8080"), "where it arrives", "cluster inbound")
	wantContains(t, "loopback", explained(t, h.near, "host", "127.0.0.1:8080"), "where it arrives, the destination is a loopback address", "does not see")
	wantContains(t, "another server", explained(t, h.near, "203.0.113.7", nearAddr+":8081"), "does not see this connection")
}
