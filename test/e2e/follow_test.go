package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/controlplane"
	"github.com/weir-proxy/weir/test/harness"
)

// virtual is a listener at an address that exists nowhere.
func virtual(t *testing.T, addr, cluster string) *listenerv3.Listener {
	t.Helper()
	return harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
		Name: "virtual", Address: addr, Virtual: true, Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", cluster)))},
	}.YAML())
}

// What the kernel captures follows the listeners that the control plane sends, and neither descriptors nor BPF objects pile up.
func TestCaptureFollowsXDS(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			group := harness.NewCgroup(t)
			m := startMesh(t, kind, group)
			app := m.host.App().In(group)
			bare := m.resources()
			reached := func(ip string) bool {
				return strings.TrimSpace(app.Curl("--max-time", "3", "http://"+ip+"/").Out) == "one"
			}
			var files []string
			for round := range 5 {
				m.control.Set(append(slices.Clone(bare), virtual(t, "10.99.0.1:80", "one"))...)
				harness.Eventually(t, "captured", func() bool { return reached("10.99.0.1") })
				m.control.Set(append(slices.Clone(bare), virtual(t, "10.99.0.2:80", "one"))...)
				harness.Eventually(t, "the other address is captured", func() bool { return reached("10.99.0.2") })
				if reached("10.99.0.1") {
					t.Error("the old address is still captured")
				}
				m.control.Set(bare...)
				harness.Eventually(t, "not captured", func() bool { return !reached("10.99.0.2") })
				if round == 0 {
					files = m.weir.Files()
				}
			}
			harness.EventuallyNil(t, "the same descriptors as before", func() error {
				if now := m.weir.Files(); len(now) > len(files) {
					return fmt.Errorf("%d descriptors were %d:\n%q\nnow\n%q", len(now), len(files), files, now)
				}
				return nil
			})
		})
	}
}

// A download goes on through updates of everything that it does not use, and of the weights that sent it where it is.
func TestUpdatesKeepConnections(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			step := make(chan struct{})
			long := m.host.HTTPBackend("long", "127.0.0.1:0", harness.WithHandler("/", func(w http.ResponseWriter, r *http.Request) {
				for range 4 {
					fmt.Fprintln(w, "part")
					_ = http.NewResponseController(w).Flush()
					select {
					case <-step:
					case <-r.Context().Done():
						return
					}
				}
			}))
			m.mesh.one = harness.To(long.Addr)
			m.control.Set(m.resources()...)
			conn := m.host.MustDial("127.0.0.1:8080")
			harness.Eventually(t, "the endpoint is there", func() bool {
				return strings.Contains(m.weir.Page("/clusters"), "one::"+long.Addr.String())
			})
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body := bufio.NewReader(resp.Body)
			updates := []func(){
				func() { m.weights = [2]int{0, 100} },
				func() { m.certificate = m.ca.Issue("shop.test") },
				func() { m.more = append(m.more, virtual(t, "10.99.0.9:80", "two")) },
				func() { m.mesh.two = harness.To(long.Addr) },
			}
			for _, update := range updates {
				if line, err := body.ReadString('\n'); line != "part\n" {
					t.Fatalf("the download got %q, %v", line, err)
				}
				update()
				before := acknowledged(m)
				m.control.Set(m.resources()...)
				harness.Eventually(t, "the update is taken", func() bool { return acknowledged(m) > before })
				step <- struct{}{}
			}
			if rest, err := io.ReadAll(body); err != nil || len(rest) != 0 {
				t.Errorf("the end is %q, %v", rest, err)
			}
		})
	}
}

// acknowledged counts the responses that weir took.
func acknowledged(m *meshed) int {
	n := 0
	for _, e := range m.control.Events() {
		if e.Kind == controlplane.Acknowledged {
			n++
		}
	}
	return n
}

// Each type of resource is rejected with its name and a reason, and what was there goes on.
func TestRejectionsName(t *testing.T) {
	t.Parallel()
	m := startMesh(t, "DELTA_GRPC")
	for _, tc := range []struct {
		kind string
		bad  proto.Message
		want []string
	}{
		{"Cluster", harness.Resource(t, &clusterv3.Cluster{}, `{name: one, cluster_type: {name: envoy.clusters.redis, typed_config: `+
			`{"@type": type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig}}}`), []string{"one", "redis"}},
		{"RouteConfiguration", harness.Resource(t, &routev3.RouteConfiguration{},
			harness.RouteConfig("main", `{match: {safe_regex: {regex: "("}}, route: {cluster: one}}`)), []string{"main", "regex"}},
		{
			"ClusterLoadAssignment", harness.Resource(t, &endpointv3.ClusterLoadAssignment{},
				`{cluster_name: one, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: not.an.ip, port_value: 1}}}}]}]}`),
			[]string{"one", "not.an.ip"},
		},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			resources := m.resources()
			for i, r := range resources {
				if r.ProtoReflect().Descriptor() == tc.bad.ProtoReflect().Descriptor() && nameOf(r) == nameOf(tc.bad) {
					resources[i] = tc.bad
				}
			}
			m.control.Set(resources...)
			wantContains(t, "reason", m.control.AwaitRejection(tc.kind), tc.want...)
			if got := m.body(t); got != "one" {
				t.Errorf("what was there answers %q", got)
			}
		})
	}
}

func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case interface{ GetName() string }:
		return m.GetName()
	case interface{ GetClusterName() string }:
		return m.GetClusterName()
	}
	return ""
}
