package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/test/harness"
)

// Prototypes by which the puppet's methods know of which type something is.
var (
	aCluster    = &clusterv3.Cluster{}
	anEndpoint  = &endpointv3.ClusterLoadAssignment{}
	aListener   = &listenerv3.Listener{}
	aRouteTable = &routev3.RouteConfiguration{}
)

func edsCluster(t *testing.T, name string, more ...string) *clusterv3.Cluster {
	t.Helper()
	fields := append([]string{"name: " + name, "type: EDS", "eds_cluster_config: {eds_config: " + adsSource + "}"}, more...)
	return harness.Resource(t, &clusterv3.Cluster{}, "{"+strings.Join(fields, ", ")+"}")
}

func assignment(t *testing.T, name string, to ...netip.AddrPort) *endpointv3.ClusterLoadAssignment {
	t.Helper()
	return harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, harness.Endpoints(name, to...))
}

func routeTable(t *testing.T, name, cluster string) *routev3.RouteConfiguration {
	t.Helper()
	return harness.Resource(t, &routev3.RouteConfiguration{}, harness.RouteConfig(name, harness.RouteTo("/", cluster)))
}

func rdsListener(t *testing.T, name, addr, routes string) *listenerv3.Listener {
	t.Helper()
	hcm := harness.HTTPManager("rds: {route_config_name: " + routes + ", config_source: " + adsSource + "}")
	return harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: name, Address: addr, Chains: []string{harness.Chain(hcm)}}.YAML())
}

// led is a weir that a puppet leads, with the clusters a and b of one backend each, and a listener "plain" whose routes "main" go
// to a.
type led struct {
	t        *testing.T
	kind     string
	host     *harness.Host
	p        *puppet
	one, two *harness.HTTPBackend
	w        *harness.Weir
}

func startLed(t *testing.T, kind string) *led {
	t.Helper()
	host := harness.NewHost(t)
	x := &led{t: t, kind: kind, host: host, p: startPuppet(t, host), one: host.HTTPBackend("one", "127.0.0.1:0"), two: host.HTTPBackend("two", "127.0.0.1:0")}
	x.w = host.StartWeir(harness.WeirOptions{Config: puppetBootstrap(kind), NotReady: true})
	x.p.asked(aCluster, "")
	x.accepted(nil, edsCluster(t, "a"), edsCluster(t, "b"))
	x.p.asked(anEndpoint, "b")
	x.accepted(nil, assignment(t, "a", x.one.Addr), assignment(t, "b", x.two.Addr))
	x.p.asked(aListener, "")
	x.accepted(nil, rdsListener(t, "plain", "127.0.0.1:8080", "main"))
	x.p.asked(aRouteTable, "main")
	x.accepted(nil, routeTable(t, "main", "a"))
	harness.Eventually(t, "weir serves", func() bool { return x.body() == "one" })
	return x
}

// says has the puppet say that there are resources of one type, by either protocol, and returns what weir says to that. Those of
// the state of the world are all there is; removed tells which are gone by the other protocol.
func (x *led) says(removed []string, resources ...proto.Message) *told {
	x.t.Helper()
	if x.kind == "GRPC" {
		return x.p.answered(x.p.state(fmt.Sprint("v", x.p.nonces), resources[0], resources...))
	}
	var wrapped []*discoveryv3.Resource
	for _, m := range resources {
		wrapped = append(wrapped, x.p.as(resourceName(m), fmt.Sprint("v", x.p.nonces), m))
	}
	return x.p.answered(x.p.change(resources[0], removed, wrapped...))
}

func resourceName(m proto.Message) string {
	switch m := m.(type) {
	case interface{ GetName() string }:
		return m.GetName()
	case interface{ GetClusterName() string }:
		return m.GetClusterName()
	}
	return ""
}

// accepted is says for what must be accepted.
func (x *led) accepted(removed []string, resources ...proto.Message) {
	x.t.Helper()
	if answer := x.says(removed, resources...); answer.refused != "" {
		x.t.Errorf("refused: %s", answer.refused)
	}
}

func (x *led) body() string { return strings.TrimSpace(x.host.App().Curl(plainURL).Out) }

// TestDeltaResponseContradictsItself has a response that says two things of one resource rejected as a whole, as in Envoy: what was
// in force stays, and is known to be there when the stream is made anew.
func TestDeltaResponseContradictsItself(t *testing.T) {
	t.Parallel()
	x := startLed(t, "DELTA_GRPC")
	p := x.p
	refused := func(nonce, want string) {
		t.Helper()
		if got := p.answered(nonce).refused; got != want {
			t.Errorf("refused: %q, want %q", got, want)
		}
		if got := x.body(); got != "one" {
			t.Errorf("afterwards %q answers", got)
		}
	}
	refused(p.change(aCluster, []string{"a"}, p.as("a", "9", edsCluster(t, "a", "connect_timeout: 3s"))), "duplicate name a found in the union of added+removed resources")
	refused(p.change(aListener, []string{"plain"}, p.as("plain", "9", rdsListener(t, "plain", "127.0.0.1:8081", "main"))), "duplicate name plain found in the union of added+removed resources")
	refused(p.change(aRouteTable, []string{"main"}, p.as("main", "9", routeTable(t, "main", "b"))), "duplicate name main found in the union of added+removed resources")
	refused(p.change(anEndpoint, nil, p.as("a", "9", assignment(t, "a", x.two.Addr)), p.as("a", "9", assignment(t, "a", x.one.Addr))), "duplicate name a found among added/updated resources")
	for _, name := range []string{"cluster_manager.cds", "listener_manager.lds", "http.ingress.rds.main", "cluster.a"} {
		if n := x.w.Stat(name + ".update_rejected"); n != 1 {
			t.Errorf("%s.update_rejected is %d", name, n)
		}
	}
	t.Log("what was never there is removed")
	for _, m := range []proto.Message{aCluster, anEndpoint, aListener, aRouteTable} {
		if got := p.answered(p.change(m, []string{"never", ""})).refused; got != "" {
			t.Errorf("refused: %s", got)
		}
	}
	t.Log("the stream is made anew")
	p.stop()
	p.start()
	if held := p.asked(aCluster, "").held; held["b"] == "" || len(held) != 2 {
		t.Errorf("clusters held: %v", held)
	}
	refused(p.change(aCluster, nil), "")
}

// TestResourceTwiceInAState has the first of several resources of one name count, without a rejection where Envoy has none.
func TestResourceTwiceInAState(t *testing.T) {
	t.Parallel()
	x := startLed(t, "GRPC")
	x.accepted(nil, routeTable(t, "main", "b"), routeTable(t, "main", "a"))
	if got := x.body(); got != "two" {
		t.Errorf("after routes came twice %q answers", got)
	}
	x.accepted(nil, assignment(t, "b", x.one.Addr), assignment(t, "b", x.two.Addr))
	if got := x.body(); got != "one" {
		t.Errorf("after endpoints came twice %q answers", got)
	}
	for answer, want := range map[*told]string{
		x.says(nil, edsCluster(t, "a"), edsCluster(t, "b"), edsCluster(t, "b")):                                           "b: duplicate cluster b found",
		x.says(nil, rdsListener(t, "plain", "127.0.0.1:8080", "main"), rdsListener(t, "plain", "127.0.0.1:8081", "main")): "plain: duplicate listener plain found",
		x.says(nil, assignment(t, "''", x.one.Addr)):                                                                      "cluster_name: value length must be at least 1",
		x.p.answered(x.p.state("x", aRouteTable, assignment(t, "a", x.one.Addr))):                                         "ClusterLoadAssignment, not a type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	} {
		if !strings.Contains(answer.refused, want) {
			t.Errorf("refused: %q, want %q", answer.refused, want)
		}
	}
	if got := x.body(); got != "one" {
		t.Errorf("at last %q answers", got)
	}
}

// TestListenerRenamed has one response take a listener away and bring another one at its address with its routes. These are not
// asked for again, and no connection is refused meanwhile.
func TestListenerRenamed(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			x := startLed(t, kind)
			stop := newConnections(t, x.host)
			names := [2]string{"plain", "other"}
			for i := range 20 {
				x.accepted(names[i%2:i%2+1], rdsListener(t, names[1-i%2], "127.0.0.1:8080", "main"))
				if got := x.body(); got != "one" {
					t.Errorf("%d: %q answers", i, got)
				}
			}
			if failed := stop(); len(failed) > 0 {
				t.Errorf("%d connections were not served: %v", len(failed), failed[0])
			}
			if n := x.p.count(func(q *told) bool { return q.typ == urlOf(aRouteTable) }); n != 2 {
				t.Errorf("%d requests for routes", n)
			}
		})
	}
}

// newConnections asks the plain listener over and over, each time on a connection of its own, until it is stopped.
func newConnections(t *testing.T, host *harness.Host) (stop func() []error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: host.Dial, DisableKeepAlives: true}, Timeout: harness.Patience}
	var failed []error
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			resp, err := client.Get(plainURL)
			if err == nil {
				var body []byte
				if body, err = io.ReadAll(resp.Body); err == nil && resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
				}
				err = errors.Join(err, resp.Body.Close())
			}
			if err != nil {
				failed = append(failed, err)
			}
		}
	})
	stop = sync.OnceValue(func() []error {
		close(end)
		wg.Wait()
		return failed
	})
	t.Cleanup(func() { stop() })
	return stop
}
