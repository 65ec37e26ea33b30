package explain_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
	"github.com/weir-proxy/weir/test/golden"
)

// endpoints is what EDS says of v1.
const endpoints = `
cluster_name: inventory-v1
policy: {drop_overloads: [{category: throttle, drop_percentage: {numerator: 2}}]}
endpoints:
- lb_endpoints:
  - {endpoint: {address: {socket_address: {address: 10.0.1.1, port_value: 8080}}}}
  - {endpoint: {address: {socket_address: {address: 10.0.1.2, port_value: 8080}}}}
`

// snapshot is the configuration of testdata, as if xDS had brought the parts that it is to bring.
func snapshot(t testing.TB) *model.Snapshot {
	t.Helper()
	c, err := agent.Configure(&options.Options{ConfigPath: "testdata/shop.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	snap := c.Static.Snapshot()
	routes, err := os.ReadFile("testdata/routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rds, eds := &routev3.RouteConfiguration{}, &endpointv3.ClusterLoadAssignment{}
	for m, text := range map[proto.Message]string{rds: string(routes), eds: endpoints} {
		if _, err := protoyaml.Decode([]byte(text), "test", m, protoyaml.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	dynamic := func(version string) translate.Meta { return translate.Meta{Version: version, Dynamic: true} }
	rc, _, err := c.Translator.RouteConfig(rds, dynamic("r7"))
	if err != nil {
		t.Fatal(err)
	}
	la, _, err := c.Translator.LoadAssignment(eds, dynamic("e9"))
	if err != nil {
		t.Fatal(err)
	}
	snap.Routes = snap.Routes.With(rc.Name, rc)
	snap.Endpoints = snap.Endpoints.With(la.Name, la)
	snap.Secrets = snap.Secrets.With("shop-ca", &model.Secret{Validation: &model.Validation{Roots: x509.NewCertPool()}})
	return snap
}

// kernel decides by the plan alone, as far as the tests need it.
type kernel struct {
	plan   *steer.Plan
	refuse bool
	status intercept.Status
	err    error
}

func (k *kernel) Status() (intercept.Status, error) { return k.status, nil }

func (k *kernel) Explain(q intercept.Query) (intercept.Explanation, error) {
	x := intercept.Explanation{Reason: intercept.ReasonNoRule, Generation: 3}
	if k.err != nil {
		return x, k.err
	}
	best := -1
	for _, r := range k.plan.Rules {
		if bits := r.Prefix.Bits() + 1000*min(1, int(r.Port)); bits > best && r.Prefix.Contains(q.Dst.Addr()) && (r.Port == 0 || r.Port == q.Dst.Port()) {
			best, x.Rule = bits, &r
		}
	}
	switch {
	case x.Rule == nil:
	case x.Rule.Action == steer.Pass:
		x.Reason = intercept.ReasonPassRule
	case q.Netns != 0:
		x.Reason = intercept.ReasonOtherNetns
	case k.refuse:
		x.Action, x.Reason = intercept.ActionRefuse, intercept.ReasonNotListening
	default:
		x.Action, x.Reason, x.Listener = intercept.ActionRedirect, intercept.ReasonCaptured, x.Rule.Listener
		x.Target = netip.MustParseAddrPort("127.0.0.1:40001")
	}
	return x, nil
}

// bound pretends that a listener has a socket.
type bound struct {
	*listener.Manager
	at netip.AddrPort
	is string
}

func (b bound) Bound(dst netip.AddrPort) (listener.Route, bool) {
	if dst != b.at {
		return listener.Route{}, false
	}
	return b.Route(netip.MustParseAddrPort(b.is))
}

// bed is an explainer over the configuration of testdata.
type bed struct {
	*explain.Explainer
	kernel   *kernel
	stats    *stats.Store
	snap     *model.Snapshot
	clusters *cluster.Manager
	manager  *listener.Manager
	opt      explain.Options
}

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{snap: snapshot(t), stats: stats.NewStore()}
	wheel := timer.New()
	t.Cleanup(wheel.Close)
	poller := conntest.Poller(t)
	b.clusters = cluster.New(cluster.Options{Stats: b.stats.Root(), Wheel: wheel, Poller: poller, Secrets: b})
	t.Cleanup(b.clusters.Close)
	b.clusters.Apply(b.snap)
	b.manager = listener.New(listener.Options{
		Stats: b.stats.Root(), Log: log.Discard(), Wheel: wheel, Poller: poller, Secrets: b, CaptureMark: proxyMark,
		NewFilter: func(*model.Listener, *model.FilterChain, *model.NetworkFilter) (filter.Network, error) {
			return nil, nil
		},
	})
	t.Cleanup(b.manager.Close)
	for _, err := range b.manager.Apply(b.snap) {
		t.Fatal(err)
	}
	plan, _ := steer.Compile(b.snap)
	b.kernel = &kernel{plan: plan, status: intercept.Status{Cgroups: []attach.CgroupStatus{{Dir: "/cg/weir.exec", Name: "/weir.exec"}}}}
	b.opt = explain.Options{
		Kernel: func() explain.Kernel { return b.kernel },
		Caller: func(name string, pid int) (explain.Caller, error) {
			if name == "/gone" {
				return explain.Caller{}, errors.New("find cgroup: /gone is not there")
			}
			if pid != 0 {
				name = "/weir.exec"
			}
			return explain.Caller{Dir: "/cg" + name, Cgroup: name, ID: 5, OtherNetns: pid == 7}, nil
		},
		Listeners: bound{b.manager, netip.MustParseAddrPort("192.0.2.1:15001"), "203.0.113.9:9"},
		Routes:    func(name string) *model.RouteConfig { return b.snap.Routes.Get(name) },
		Runtime:   model.NewRuntime(nil),
		Endpoints: func(name string) *model.LoadAssignment { return b.snap.Endpoints.Get(name) },
		Secret:    b.Secret,
		Cluster: func(name string) explain.Cluster {
			if c := b.clusters.Get(name); c != nil {
				return c
			}
			return nil
		},
	}
	b.Explainer = explain.New(b.opt)
	return b
}

func (b *bed) Secret(name string) *model.Secret { return b.snap.Secrets.Get(name) }

func ask(t testing.TB, e *explain.Explainer, query string) *explain.Answer {
	t.Helper()
	params, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	a, err := e.Explain(params)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestGolden(t *testing.T) {
	tests := []struct {
		name, query, outcome string
		change               func(*bed)
	}{
		{name: "weighted", query: "dst=10.99.0.1:80&host=inventory.shop:80&path=/x?a=1&header=x-secret:s&cgroup=/weir.exec/17", outcome: explain.OutcomeForwarded},
		{name: "direct_response", query: "dst=10.99.0.1:80&host=Inventory.Shop&path=/health&method=POST", outcome: explain.OutcomeAnswered},
		{name: "redirect", query: "dst=10.99.0.1:80&host=a.inventory.shop&path=/old/x", outcome: explain.OutcomeAnswered},
		{name: "fraction", query: "dst=10.99.0.1:80&host=inv2&path=/beta/%252e/y&header=x-user:ann", outcome: explain.OutcomeForwarded},
		{name: "cluster_header", query: "dst=10.99.0.1:80&host=inventory.shop&path=/by-header?q&header=x-cluster:empty", outcome: explain.OutcomeNoHost},
		{name: "cluster_header_missing", query: "dst=10.99.0.1:80&host=inventory.shop&path=/by-header?q", outcome: explain.OutcomeNoHost},
		{name: "unknown_cluster", query: "dst=10.99.0.1:80&host=inventory.shop&path=/lost/1", outcome: explain.OutcomeNoHost},
		{name: "unknown_domain", query: "dst=10.99.0.1:80", outcome: explain.OutcomeAnswered},
		{name: "criteria", query: "dst=10.99.0.1:80&host=criteria.shop&path=/v2/a/b&header=x-user:ann&header=cookie:session=live&src=10.0.0.9", outcome: explain.OutcomeForwarded},
		{name: "copies", query: "dst=10.99.0.1:80&host=copied.shop&path=/x&header=x-shadow:elsewhere", outcome: explain.OutcomeForwarded},
		{name: "tree", query: "dst=10.99.0.1:80&host=tree.shop&path=/a/b&header=x-user:ann", outcome: explain.OutcomeAnswered},
		{name: "tree_miss", query: "dst=10.99.0.1:80&host=tree.shop&path=/other", outcome: explain.OutcomeAnswered},
		{name: "no_routes_yet", query: "dst=10.99.0.1:80", outcome: explain.OutcomeAnswered, change: func(b *bed) { b.snap.Routes = model.Set[*model.RouteConfig]{} }},
		{name: "tls_where_http_is", query: "dst=10.99.0.1:80&tls", outcome: explain.OutcomeClosed},
		{name: "sni", query: "dst=192.0.2.7:443&sni=A.Pay.Shop&alpn=h2,http/1.1&src=192.0.2.1:5000", outcome: explain.OutcomeForwarded},
		{name: "require_tls", query: "dst=192.0.2.7:443&host=pay.shop", outcome: explain.OutcomeAnswered},
		{name: "no_chain", query: "dst=192.0.2.7:443&sni=other.shop", outcome: explain.OutcomeClosed},
		{name: "tcp", query: "dst=10.99.0.3:5432", outcome: explain.OutcomeForwarded},
		{name: "authorized", query: "dst=10.99.0.4:5432&src=192.0.2.1", outcome: explain.OutcomeForwarded},
		{name: "denied", query: "dst=10.99.0.4:5432&src=192.0.3.1", outcome: explain.OutcomeClosed},
		{name: "original_dst", query: "dst=203.0.113.9:9", outcome: explain.OutcomeForwarded},
		{name: "loopback", query: "dst=127.0.0.1:9", outcome: explain.OutcomeNotSeen},
		{name: "assume_captured", query: "dst=127.0.0.1:9&assume_captured", outcome: explain.OutcomeForwarded},
		{name: "other_cgroup", query: "dst=10.99.0.1:80&cgroup=/weir.executive", outcome: explain.OutcomeNotSeen},
		{name: "other_namespace", query: "dst=10.99.0.1:80&pid=7", outcome: explain.OutcomeNotSeen},
		{name: "refused", query: "dst=10.99.0.1:80", outcome: explain.OutcomeRefused, change: func(b *bed) { b.kernel.refuse = true }},
		{name: "no_cgroup", query: "dst=10.99.0.1:80", outcome: explain.OutcomeNotSeen, change: func(b *bed) {
			b.kernel.status = intercept.Status{MissingCgroups: []string{"weir.exec"}}
		}},
		{name: "kernel_error", query: "dst=10.99.0.1:80", outcome: explain.OutcomeUnknown, change: func(b *bed) {
			b.kernel.err = errors.New("explain 10.99.0.1:80: run program: no such device")
		}},
		{name: "interception_off", query: "dst=10.99.0.1:80", outcome: explain.OutcomeNotSeen, change: func(b *bed) {
			b.opt.Kernel = func() explain.Kernel { return nil }
			b.opt.Unavailable = func() error { return errors.New("interception is not available: needs CAP_BPF") }
		}},
		{name: "own_socket", query: "dst=192.0.2.1:15001", outcome: explain.OutcomeNoHost, change: func(b *bed) { b.kernel.plan = &steer.Plan{} }},
		{name: "no_healthy_host", query: "dst=10.99.0.3:5432", outcome: explain.OutcomeNoHost, change: func(b *bed) {
			ill, next := *b.snap.Clusters.Get("tcp"), *b.snap
			inline, place := *ill.Inline, *ill.Inline.Localities[0]
			place.Endpoints = place.Endpoints[:2] // those that are not healthy
			inline.Localities = []*model.Locality{&place}
			ill.Inline, ill.PanicThreshold = &inline, 0
			next.Clusters = next.Clusters.With("tcp", &ill)
			b.clusters.Apply(&next)
		}},
		{name: "other_rule", query: "dst=10.99.0.3:5432", outcome: explain.OutcomeForwarded, change: func(b *bed) {
			for i := range b.kernel.plan.Rules {
				b.kernel.plan.Rules[i].Listener = "passthrough"
			}
		}},
		{name: "runtime", query: "dst=10.99.0.1:80&host=inventory.shop&path=/beta&header=x-user:ann", outcome: explain.OutcomeForwarded, change: func(b *bed) {
			b.opt.Runtime = model.RuntimeOf(map[string]uint64{"beta": 30, "upstream.maintenance_mode.v2": 5, "circuit_breakers.v2.default.max_requests": 77})
		}},
		{name: "no_listener", query: "dst=198.51.100.1:7", outcome: explain.OutcomeClosed, change: func(b *bed) {
			b.snap.Listeners = b.snap.Listeners.Without("passthrough")
			b.manager.Apply(b.snap)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			if tt.change != nil {
				tt.change(b)
			}
			before := b.counters()
			a := ask(t, explain.New(b.opt), tt.query)
			if diff := cmp.Diff(before, b.counters()); diff != "" {
				t.Errorf("explaining counts:\n%s", diff)
			}
			if a.Outcome != tt.outcome {
				t.Errorf("outcome %s, want %s", a.Outcome, tt.outcome)
			}
			text := a.Text()
			for line := range strings.Lines(text) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
					t.Errorf("a line has %d columns: %s", n, line)
				}
			}
			golden.Check(t, "testdata/"+tt.name+".txt", []byte(text))
			if tt.name == "weighted" || tt.name == "loopback" {
				var out bytes.Buffer
				enc := json.NewEncoder(&out)
				enc.SetIndent("", " ")
				if err := enc.Encode(a); err != nil {
					t.Fatal(err)
				}
				golden.Check(t, "testdata/"+tt.name+".json", out.Bytes())
			}
		})
	}
}

// counters are all counters and gauges.
func (b *bed) counters() map[string]uint64 {
	out := map[string]uint64{}
	for _, c := range b.stats.Counters() {
		out[c.Name()] = c.Value()
	}
	for _, g := range b.stats.Gauges() {
		out[g.Name()] = g.Value()
	}
	return out
}

func TestUnknownCaller(t *testing.T) {
	b := newBed(t)
	_, err := b.Explain(url.Values{"dst": {"10.99.0.1:80"}, "cgroup": {"/gone"}})
	if err == nil || !strings.Contains(err.Error(), "/gone") {
		t.Errorf("error = %v", err)
	}
}
