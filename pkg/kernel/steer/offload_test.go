package steer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/test/golden"
)

// tcp gives a listener a filter chain that proxies to clusters of equal weight.
func tcp(l *model.Listener, clusters ...string) *model.Listener {
	return chains(l, proxying(&model.TCPProxy{StatPrefix: "tcp", IdleTimeout: time.Hour, MaxConnectAttempts: 1}, clusters...))
}

func chains(l *model.Listener, fcs ...*model.FilterChain) *model.Listener {
	l.FilterChains = fcs
	return l
}

func proxying(p *model.TCPProxy, clusters ...string) *model.FilterChain {
	for _, name := range clusters {
		p.Clusters = append(p.Clusters, model.WeightedCluster{Name: name, Weight: 1})
	}
	return &model.FilterChain{Filters: []*model.NetworkFilter{{Name: "tcp", Config: p}}}
}

// to is a plain chain for destinations.
func to(cluster string, port uint32, prefixes ...string) *model.FilterChain {
	fc := proxying(&model.TCPProxy{}, cluster)
	fc.Match.DestinationPort = port
	for _, p := range prefixes {
		fc.Match.PrefixRanges = append(fc.Match.PrefixRanges, netip.MustParsePrefix(p))
	}
	return fc
}

func matching(cluster string, m model.FilterChainMatch) *model.FilterChain {
	fc := to(cluster, 0)
	fc.Match = m
	return fc
}

// with adds clusters to a snapshot: each name with what changes it.
func with(snap *model.Snapshot, clusters ...*model.Cluster) *model.Snapshot {
	for _, c := range clusters {
		snap.Clusters = snap.Clusters.With(c.Name, c)
	}
	return snap
}

func cluster(name string, change ...func(*model.Cluster)) *model.Cluster {
	c := &model.Cluster{Resource: model.Resource{Name: name}, LeastRequest: model.LeastRequest{ChoiceCount: 2, ActiveRequestBias: 1}}
	for _, f := range change {
		f(c)
	}
	return c
}

func endless(c *model.Cluster) {
	c.Breakers[0] = model.CircuitBreaker{MaxConnections: 1<<32 - 1, MaxPendingRequests: 1<<32 - 1, MaxRequests: 1<<32 - 1}
}

func originalDst(c *model.Cluster) { c.Type, c.LB = model.ClusterOriginalDst, model.LBClusterProvided }

// one is a snapshot of one listener at 10.99.0.1:80 for the cluster web.
func one(change func(*model.Listener, *model.TCPProxy, *model.Cluster)) *model.Snapshot {
	p := &model.TCPProxy{StatPrefix: "tcp", IdleTimeout: time.Hour, MaxConnectAttempts: 1}
	l, c := chains(virtual("shop", "10.99.0.1:80"), proxying(p, "web")), cluster("web")
	change(l, p, c)
	return with(snapshot(nil, l), c)
}

func offloadCases() map[string]*model.Snapshot {
	outbound := func(clusters ...string) *model.Listener {
		return tcp(catchAll("outbound", "0.0.0.0:15001", model.TrafficOutbound), clusters...)
	}
	bound := virtual("metrics", "0.0.0.0:15090")
	bound.BindToPort = true
	excluded := &model.Interception{Offload: model.Offload{ExcludeListeners: []string{"shop"}}}
	off := &model.Interception{Offload: model.Offload{Off: true}}
	included := &model.Interception{Include: []model.CaptureRange{ranges("10.5.0.0/16", 80), ranges("10.6.0.0/16")}}
	passthrough := cluster("passthrough", originalDst, endless)
	return map[string]*model.Snapshot{
		"offload_plain":           with(snapshot(nil, tcp(virtual("shop", "10.99.0.1:80", "[fd00:99::1]:80"), "web")), cluster("web")),
		"offload_wildcard":        with(snapshot(nil, tcp(virtual("shop", "0.0.0.0:80"), "web")), cluster("web")),
		"offload_off":             with(snapshot(off, tcp(virtual("shop", "10.99.0.1:80"), "web")), cluster("web")),
		"offload_excluded":        with(snapshot(excluded, tcp(virtual("shop", "10.99.0.1:80"), "web"), tcp(virtual("two", "10.99.0.2:80"), "web")), cluster("web")),
		"offload_unknown_cluster": snapshot(nil, tcp(virtual("shop", "10.99.0.1:80"), "web")),
		"offload_weighted": with(snapshot(nil, tcp(virtual("shop", "10.99.0.1:80"), "a", "b"), tcp(virtual("bounded", "10.99.0.2:80"), "a", "c")),
			cluster("a", endless), cluster("b", endless), cluster("c")),
		"offload_passthrough":         with(snapshot(included, outbound("passthrough"), bound, tcp(virtual("web", "0.0.0.0:80"), "web")), passthrough, cluster("web")),
		"offload_passthrough_counted": with(snapshot(nil, outbound("passthrough")), cluster("passthrough", originalDst)),
		"offload_host_upstream": with(snapshot(&model.Interception{Namespaces: model.Namespaces{HostUpstream: true}},
			outbound("passthrough"), tcp(virtual("shop", "10.99.0.1:80"), "web")), passthrough, cluster("web")),
		"offload_blackhole": with(snapshot(nil, outbound("nowhere")), cluster("nowhere")),
		"offload_chains_by_destination": with(snapshot(nil,
			chains(virtual("many", "10.99.0.1:80", "10.99.1.1:81", "10.100.0.1:80"), to("b", 81), to("a", 0, "10.99.0.0/24"), to("c", 0, "10.99.0.0/16"), to("d", 0, "10.0.0.0/8"))),
			cluster("a"), cluster("b"), cluster("c"), cluster("d")),
		"offload_default_chain": with(snapshot(nil, withDefault(chains(virtual("shop", "10.99.0.1:80"), matching("tls", model.FilterChainMatch{ServerNames: []string{"x.example"}})), to("web", 0))),
			cluster("tls"), cluster("web")),
		"offload_raw_buffer": with(snapshot(nil, chains(virtual("shop", "10.99.0.1:80"),
			matching("tls", model.FilterChainMatch{TransportProtocol: "tls"}), matching("raw", model.FilterChainMatch{TransportProtocol: "raw_buffer"}), matching("any", model.FilterChainMatch{}))),
			cluster("tls"), cluster("raw"), cluster("any")),
		"offload_chains_by_source": with(snapshot(nil, chains(virtual("shop", "10.99.0.1:80"), to("a", 0), matching("b", model.FilterChainMatch{SourcePorts: []uint32{9}}))),
			cluster("a"), cluster("b")),
		"offload_wildcard_prefixes": with(snapshot(nil, chains(virtual("shop", "0.0.0.0:80"), to("a", 0), to("b", 0, "10.0.0.0/8"))), cluster("a"), cluster("b")),
	}
}

func withDefault(l *model.Listener, fc *model.FilterChain) *model.Listener {
	l.DefaultFilterChain = fc
	return l
}

// TestOffload compares the plans with golden files.
func TestOffload(t *testing.T) {
	for name, snap := range offloadCases() {
		t.Run(name, func(t *testing.T) {
			c := NewCompiler()
			u := c.Snapshot(snap)
			got := render(u.Plan, u.Notices)
			for _, s := range c.Status() {
				got += fmt.Sprintf("status   %s: offloaded %q, passed %t, kept %q\n", s.Listener, s.Offloaded, s.Passed, s.Kept)
			}
			for _, s := range u.Services {
				got += fmt.Sprintf("service  %s: listener %s, clusters %v", s.Name, s.Listener.Name, s.Clusters())
				if s.OwnNamespace {
					got += ", of weir's own namespace"
				}
				got += "\n"
			}
			golden.Check(t, "testdata/"+name+".golden", got)
		})
	}
}

// TestKept has one case for each thing that keeps a listener in user space; the reason names the field.
func TestKept(t *testing.T) {
	type change = func(*model.Listener, *model.TCPProxy, *model.Cluster)
	tests := []struct {
		want string
		do   change
	}{
		{"", func(*model.Listener, *model.TCPProxy, *model.Cluster) {}},
		{"", func(l *model.Listener, _ *model.TCPProxy, _ *model.Cluster) {
			l.ListenerFilters = []*model.ListenerFilter{{Name: "o", TypeURL: "type.googleapis.com/" + originalDstType}}
		}},
		{"", func(_ *model.Listener, p *model.TCPProxy, _ *model.Cluster) { p.IdleTimeout = 0 }},
		{"access_log needs user space", func(l *model.Listener, _ *model.TCPProxy, _ *model.Cluster) { l.AccessLogs = []*model.AccessLog{{}} }},
		{"listener_filters[0] (sni) needs user space", func(l *model.Listener, _ *model.TCPProxy, _ *model.Cluster) {
			l.ListenerFilters = []*model.ListenerFilter{{Name: "sni", TypeURL: "type.googleapis.com/x"}}
		}},
		{"filter_chains[0].transport_socket: weir terminates TLS, which needs user space", func(l *model.Listener, _ *model.TCPProxy, _ *model.Cluster) {
			l.FilterChains[0].TLS = &model.DownstreamTLS{}
		}},
		{"filter_chains[0].filters[0] (hcm) needs user space", func(l *model.Listener, _ *model.TCPProxy, _ *model.Cluster) {
			l.FilterChains[0].Filters = []*model.NetworkFilter{{Name: "hcm", Config: &model.HTTPConnectionManager{}}}
		}},
		{"filter_chains[0].filters[0] (rbac) needs user space", func(l *model.Listener, _ *model.TCPProxy, _ *model.Cluster) {
			l.FilterChains[0].Filters = append([]*model.NetworkFilter{{Name: "rbac"}}, l.FilterChains[0].Filters...)
		}},
		{"filter_chains[0].filters: there is none", func(l *model.Listener, _ *model.TCPProxy, _ *model.Cluster) { l.FilterChains[0].Filters = nil }},
		{"filter_chains: none of them is for these connections", func(l *model.Listener, _ *model.TCPProxy, _ *model.Cluster) {
			l.FilterChains[0].Match.DestinationPort = 81
		}},
		{"filter_chains[0].filter_chain_match.source_type needs user space", func(l *model.Listener, _ *model.TCPProxy, _ *model.Cluster) {
			l.FilterChains[0].Match.SourceType = model.SourceExternal
		}},
		{"filter_chains[0].filters[0].access_log needs user space", func(_ *model.Listener, p *model.TCPProxy, _ *model.Cluster) { p.AccessLogs = []*model.AccessLog{{}} }},
		{"filter_chains[0].filters[0].idle_timeout needs user space", func(_ *model.Listener, p *model.TCPProxy, _ *model.Cluster) { p.IdleTimeout = time.Minute }},
		{"filter_chains[0].filters[0].max_connect_attempts needs user space", func(_ *model.Listener, p *model.TCPProxy, _ *model.Cluster) { p.MaxConnectAttempts = 2 }},
		{"filter_chains[0].filters[0].max_downstream_connection_duration needs user space", func(_ *model.Listener, p *model.TCPProxy, _ *model.Cluster) {
			p.MaxDownstreamConnectionDuration = time.Hour
		}},
		{"filter_chains[0].filters[0].on_demand needs user space", func(_ *model.Listener, p *model.TCPProxy, _ *model.Cluster) { p.OnDemand = &model.OnDemandClusters{} }},
		{"cluster web: transport_socket needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) { c.TLS = &model.UpstreamTLS{} }},
		{"cluster web: transport_socket_matches needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) {
			c.TransportSocketMatches = []model.TransportSocketMatch{{TLS: &model.UpstreamTLS{}}}
		}},
		{"cluster web: upstream_bind_config needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) {
			c.BindAddress = netip.MustParseAddrPort("10.0.0.1:0")
		}},
		{"cluster web: upstream_connection_options.tcp_keepalive needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) { c.TCPKeepalive = &model.TCPKeepalive{} }},
		{"cluster web: circuit_breakers.per_host_thresholds needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) { c.HostConnections[0] = 1 }},
		{"cluster web: circuit_breakers.thresholds.track_remaining needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) { c.Breakers[0].TrackRemaining = true }},
		{"cluster web: common_lb_config.close_connections_on_host_set_change needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) { c.CloseOnHostChange = true }},
		{"cluster web: close_connections_on_host_health_failure needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) { c.CloseOnUnhealthy = true }},
		{"cluster web: common_http_protocol_options.max_connection_duration needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) { c.MaxConnectionDuration = time.Hour }},
		{"cluster web: original_dst_lb_config.upstream_port_override needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) {
			originalDst(c)
			c.OriginalDst.PortOverride = 1
		}},
		{"cluster web: common_lb_config.consistent_hashing_lb_config.hash_balance_factor needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) {
			c.LB, c.HashLB.BalanceFactor = model.LBMaglev, 120
		}},
		{"cluster web: lb_policy RING_HASH with a hash_policy needs user space", func(_ *model.Listener, p *model.TCPProxy, c *model.Cluster) {
			c.LB, p.HashSourceIP = model.LBRingHash, true
		}},
		{"", func(_ *model.Listener, p *model.TCPProxy, c *model.Cluster) {
			c.LB, p.HashSourceIP = model.LBMaglev, true
		}},
		{"cluster web: least_request_lb_config.selection_method needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) {
			c.LB, c.LeastRequest.FullScan = model.LBLeastRequest, true
		}},
		{"cluster web: least_request_lb_config.choice_count needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) {
			c.LB, c.LeastRequest.ChoiceCount = model.LBLeastRequest, 3
		}},
		{"cluster web: least_request_lb_config.active_request_bias needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) {
			c.LB, c.LeastRequest.ActiveRequestBias = model.LBLeastRequest, 0
		}},
		{"cluster web: least_request_lb_config.slow_start_config needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) {
			c.LB, c.SlowStart.Window = model.LBLeastRequest, time.Second
		}},
		{"cluster web: round_robin_lb_config.slow_start_config needs user space", func(_ *model.Listener, _ *model.TCPProxy, c *model.Cluster) {
			c.SlowStart.Window = time.Second
		}},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.want, "/", "|"), func(t *testing.T) {
			rule := NewCompiler().Snapshot(one(tt.do)).Plan.Rules[0]
			if rule.Kept != tt.want || (rule.Action == Offload) != (tt.want == "") {
				t.Errorf("%s, kept by %q, want %q", rule.Action, rule.Kept, tt.want)
			}
		})
	}
}

// TestStepsEqualOneCompilation is a property: whatever the sequence of configurations, the plan and the services are those that
// compiling the last one alone gives, and the changes lead from each plan to the next.
func TestStepsEqualOneCompilation(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	for n := range 300 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := NewCompiler()
			snap := &model.Snapshot{}
			services := make(map[string]Spec)
			for range 12 {
				next := *snap
				for range 1 + r.IntN(3) {
					mutate(r, &next)
				}
				snap = &next
				before := c.Plan()
				u := c.Snapshot(snap)
				follow(services, &u)
				if r.IntN(4) == 0 {
					c.Unfit([]string{"one", "two", "outbound"}[r.IntN(3)], []string{"", "is odd"}[r.IntN(2)])
					step := c.Flush()
					follow(services, &step)
					before, u = u.Plan, step
				}
				if diff := cmp.Diff(Diff(before, u.Plan), u.Change, cmp.Comparer(func(a, b Rule) bool { return a == b })); diff != "" {
					t.Fatalf("change (-between plans +told):\n%s", diff)
				}
				whole := NewCompiler()
				whole.unfit = maps.Clone(c.unfit)
				want := whole.Snapshot(snap)
				if diff := cmp.Diff(render(want.Plan, nil), render(u.Plan, nil)); diff != "" {
					t.Fatalf("plan (-at once +in steps):\n%s", diff)
				}
				wantServices := make(map[string]Spec)
				follow(wantServices, &want)
				if diff := cmp.Diff(wantServices, services, cmp.Comparer(func(a, b Spec) bool { return a == b })); diff != "" {
					t.Fatalf("services (-at once +in steps):\n%s", diff)
				}
			}
		})
	}
}

func follow(services map[string]Spec, u *Update) {
	for _, s := range u.Services {
		services[s.Name] = s
	}
	for _, name := range u.GoneServices {
		delete(services, name)
	}
}

// mutate makes a small change to a snapshot.
func mutate(r *rand.Rand, snap *model.Snapshot) {
	clusters := []string{"a", "b", "pass"}
	pick := func(of []string) string { return of[r.IntN(len(of))] }
	switch r.IntN(6) {
	case 0:
		name := pick(clusters)
		snap.Clusters = snap.Clusters.Without(name)
	case 1:
		name := pick(clusters)
		c := cluster(name, endless)
		if name == "pass" {
			originalDst(c)
		}
		if r.IntN(4) == 0 {
			c.TCPKeepalive = &model.TCPKeepalive{}
		}
		snap.Clusters = snap.Clusters.With(name, c)
	case 2:
		snap.Interception = []*model.Interception{
			nil,
			{Include: []model.CaptureRange{ranges("10.0.0.0/16", 80), ranges("127.0.0.0/16")}},
			{Offload: model.Offload{Off: true}, Disabled: true},
			{Cgroups: []string{"x"}, Exclude: []model.CaptureRange{ranges("10.9.0.0/16")}, Offload: model.Offload{ExcludeListeners: []string{"one"}}},
		}[r.IntN(4)]
	case 3:
		snap.Listeners = snap.Listeners.Without(pick([]string{"one", "two", "three", "outbound"}))
	default:
		name := pick([]string{"one", "two", "three", "outbound"})
		l := virtual(name, pick([]string{"10.0.0.1:80", "0.0.0.0:80", "[::]:80", "10.0.0.2:80"}))
		l.IPv4Compat = r.IntN(2) == 0
		if name == "outbound" || r.IntN(8) == 0 {
			l = catchAll(name, "0.0.0.0:15001", model.TrafficOutbound)
		}
		l.BindToPort = l.BindToPort || r.IntN(5) == 0
		names := []string{pick(clusters)}
		if r.IntN(4) == 0 {
			names = slices.Compact(append(names, pick(clusters)))
		}
		snap.Listeners = snap.Listeners.With(name, tcp(l, names...))
	}
}

// BenchmarkOneListener changes one of 5000 listeners, which must not cost what all of them do.
func BenchmarkOneListener(b *testing.B) {
	snap := with(snapshot(nil), cluster("web"))
	for n := range 5000 {
		l := tcp(virtual(fmt.Sprintf("l%d", n), fmt.Sprintf("10.%d.%d.1:80", n/256, n%256)), "web")
		snap.Listeners = snap.Listeners.With(l.Name, l)
	}
	c := NewCompiler()
	c.Snapshot(snap)
	for n := 0; b.Loop(); n++ {
		next := *snap
		l := tcp(virtual("l42", fmt.Sprintf("10.0.42.%d:80", n%250+1)), "web")
		next.Listeners = next.Listeners.With(l.Name, l)
		snap = &next
		c.Snapshot(snap)
	}
}
