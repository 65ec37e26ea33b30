package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// keepSource is a listener's field that has applications see the addresses of clients.
const keepSource = `, listener_filters: [{name: envoy.filters.listener.original_src, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc, mark: 123}}]`

// wantEventually is want for what takes a moment to be so, such as that devices find each other. No attempt takes all of the patience.
func (h *house) wantEventually(from *harness.Host, addr, body, weir string) {
	h.t.Helper()
	harness.EventuallyNil(h.t, addr+" is answered with "+body, func() error {
		gotBody, gotWeir, err := answerWithin(h.t, from, addr, harness.Patience/5)
		if err == nil && (!strings.HasPrefix(gotBody, body) || gotWeir != weir) {
			err = fmt.Errorf("%q, through weir %q", gotBody, gotWeir)
		}
		return err
	})
}

// The application sees the client that is on another host, not weir, and answers it, through HTTP and plain TCP.
func TestInboundOriginalSource(t *testing.T) {
	t.Parallel()
	const near6, far6 = "fd00:60::2", "fd00:60::1"
	h := newHouse(t, "inbound: {}", virtualInbound(keepSource+", additional_addresses: [{address: "+harness.Address("[::]:15006")+"}]"))
	harness.Link(h.far, h.near, "fd00:60::/64")
	h.serve(true, "0.0.0.0", "8080")
	h.serve(true, "0.0.0.0", "9000")
	h.want(h.far, nearAddr+":8080", "app "+farAddr+" "+nearAddr, nearAddr+":8080 "+farAddr)
	h.want(h.far, nearAddr+":9000", "app "+farAddr+" "+nearAddr, "")
	h.want(h.near, nearAddr+":9000", "app "+nearAddr+" "+nearAddr, "")
	h.weir.AwaitStat("weir.inbound.named", func(n int) bool { return n == 3 })

	h.serve(true, "::", "8081")
	h.wantEventually(h.far, "["+near6+"]:8081", "app "+far6+" "+near6, "")
	h.wantEventually(h.far, nearAddr+":8081", "app ::ffff:"+farAddr+" ::ffff:"+nearAddr, "")

	// Clients do not share connections, which would give one the other's address.
	h.far.AddAddress("192.0.2.130")
	h.near.AddRoute("192.0.2.130/32", farAddr)
	h.want(h.far, nearAddr+":8080", "app "+farAddr, nearAddr+":8080 "+farAddr)
	if got := h.far.App().Curl("--interface", "192.0.2.130", "http://"+nearAddr+":8080/"); !strings.HasPrefix(got.Out, "app 192.0.2.130 ") {
		t.Errorf("the other client is answered %q", got.Out)
	}
	if n := h.weir.Stat("weir.inbound.source_lost") + h.weir.Stat("weir.inbound.name_lost"); n != 0 {
		t.Errorf("%d connections lost their source", n)
	}

	// Weir is killed: what it attached goes with it.
	h.weir.Kill()
	h.want(h.far, nearAddr+":8080", "app "+farAddr+" "+nearAddr, "")
}

// The same in a pod, which has a network namespace of its own.
func TestInboundOriginalSourceInPod(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node, pods := harness.NewHost(t), harness.NewCgroup(t)
	p := newPod(t, node, pods, "shop", "192.0.2.0/30")
	weir := node.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{virtualInbound(keepSource)}, Clusters: []string{harness.OriginalDstCluster("inbound")},
		}.YAML(),
		Capture: []*harness.Cgroup{pods},
	})
	served(t, weir, p)
	addr := p.addr.String() + ":8080"
	p.app.Start("python3", "-I", "-c", inboundServer, "0.0.0.0", "8080")
	harness.Eventually(t, "the application in the pod sees the node", func() bool {
		body, weir, err := answer(t, node, addr)
		return err == nil && body == "app 192.0.2.1 "+p.addr.String() && weir == addr+" 192.0.2.1"
	})
	if n := weir.Stat("weir.listener.captured_from_self"); n != 0 {
		t.Errorf("%d connections came back", n)
	}
	// What weir has done leaves no trace in the namespace.
	for _, args := range [][]string{{"ip", "rule", "show"}, {"ip", "-6", "rule", "show"}} {
		if out := p.App().Run(args...).Out; strings.Count(out, "\n") > 3 {
			t.Errorf("rules in the pod:\n%s", out)
		}
	}
}

// An ordinary user's weir may not use the addresses of clients: upstreams see its own, it says so once, and counts the connections.
func TestOriginalSourceWithoutPrivileges(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	near, far := harness.NewHost(t).AddAddress("10.99.0.2"), harness.NewHost(t)
	harness.Link(near, far, "192.0.2.0/30")
	seen := make(chan string, 8)
	backend := near.TCPBackend("10.99.0.2:0", func(c *net.TCPConn) {
		seen <- c.RemoteAddr().(*net.TCPAddr).IP.String()
		harness.Greets("hello")(c)
	})
	weir := near.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{harness.Listener{
				Name: "bound", Address: "192.0.2.1:10000", More: strings.TrimPrefix(keepSource, ", "), Chains: []string{harness.Chain(harness.TCP("backend"))},
			}.YAML()},
			Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
		}.YAML(),
		User: harness.Nobody,
	})
	for range 2 {
		got := far.App().Connect(harness.Connect{To: "192.0.2.1:10000", Send: "!", HalfClose: true})
		if got.Received != "hello!" {
			t.Errorf("got %+v", got)
		}
		if client := <-seen; client == "192.0.2.2" {
			t.Error("the upstream saw the client's address")
		}
	}
	weir.AwaitStat("weir.inbound.source_lost", func(n int) bool { return n == 2 })
	if n := strings.Count(weir.Log(), "an upstream sees weir's address instead of the client's"); n != 1 {
		t.Errorf("the log tells of it %d times:\n%s", n, weir.Log())
	}
}
