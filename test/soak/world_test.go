package soak

import (
	"fmt"
	"net/netip"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/test/harness"
)

// Addresses of weir's listeners.
const (
	controlAddr = "127.0.0.1:18000"
	stableAddr  = "127.0.0.1:8000"
	mainAddr    = "127.0.0.1:8001"
	tlsAddr     = "127.0.0.1:8443"
	tcpAddr     = "127.0.0.1:8002"
	longAddr    = "127.0.0.1:8003"
	leftAddr    = "127.0.0.1:8010"
	rightAddr   = "127.0.0.1:8011"
	comeAddr    = "127.0.0.1:8020"
	optionsAddr = "127.0.0.1:8021"
	keepAddr    = "127.0.0.1:8022"
)

// How a connection fails.
const (
	refused = "refused"
	closed  = "closed"
)

// How the cluster morph gets its hosts.
const (
	morphStatic = iota
	morphEDS
	morphDNS
	morphKinds
)

// world is what the control plane serves. The zero value of what moves change is the state that a run begins and ends with.
type world struct {
	b *backends

	flap, tcp   []int // indices of backends in EDS clusters
	weights     [2]int
	morph       morph
	optional    int  // number of the cluster that the route /opt goes to; 0: there is no such route
	swapped     bool // the listeners left and right have exchanged addresses
	come        int  // version of the listener come; 0: there is none
	main        int  // version of the filter chain of main
	extra       bool // the TLS listener has a chain for another name
	options     int  // socket options of a listener
	virtual     int  // number of listeners that are not bound
	certificate harness.Certificate
	bad         string // the resource that is served in a form to be rejected
}

// morph is a cluster that changes in nature.
type morph struct {
	kind    int
	tls     bool
	timeout int
	hosts   []int
}

// backends are the servers behind weir; they all live for the whole run.
type backends struct {
	plain, secure []*harness.HTTPBackend
	echo          []*harness.TCPBackend
	ca            *harness.CA
}

const ads = "{resource_api_version: V3, ads: {}}"

// idle ends connections to backends soon, so that the end of a run finds none.
const idle = "common_http_protocol_options: {idle_timeout: 0.3s}, "

func (w *world) http(indices []int) []netip.AddrPort {
	var out []netip.AddrPort
	for _, i := range indices {
		out = append(out, w.b.plain[i].Addr)
	}
	return out
}

func cluster(name string, fields ...string) string {
	fields = append(fields, harness.UpstreamHTTP(idle+"explicit_http_config: {http_protocol_options: {}}"))
	return fmt.Sprintf("{name: %s, %s}", name, strings.Join(fields, ", "))
}

func static(name string, addrs ...netip.AddrPort) string {
	return cluster(name, "type: STATIC", "load_assignment: "+harness.Endpoints(name, addrs...))
}

func eds(name string) string {
	return cluster(name, "type: EDS", "eds_cluster_config: {eds_config: "+ads+"}")
}

func (w *world) clusters() map[string]string {
	all := map[string]string{
		"stable": static("stable", w.b.plain[0].Addr), "one": static("one", w.b.plain[1].Addr), "two": static("two", w.b.plain[2].Addr),
		"flap": eds("flap"), "keep": eds("keep"), "tcp": eds("tcp"), "long": static("long", w.b.echo[0].Addr), "morph": w.morphCluster(),
	}
	if w.optional > 0 {
		name := fmt.Sprint("optional", w.optional)
		all[name] = static(name, w.b.plain[w.optional%3].Addr)
	}
	return all
}

func (w *world) morphCluster() string {
	var addrs []netip.AddrPort
	for _, i := range w.morph.hosts {
		if w.morph.tls {
			addrs = append(addrs, w.b.secure[i].Addr)
		} else {
			addrs = append(addrs, w.b.plain[i].Addr)
		}
	}
	fields := []string{fmt.Sprintf("connect_timeout: %ds", 2+w.morph.timeout)}
	switch w.morph.kind {
	case morphStatic:
		fields = append(fields, "type: STATIC", "load_assignment: "+harness.Endpoints("morph", addrs...))
	case morphEDS:
		fields = append(fields, "type: EDS", "eds_cluster_config: {eds_config: "+ads+"}")
	case morphDNS:
		assignment := strings.ReplaceAll(harness.Endpoints("morph", addrs...), "127.0.0.1", "localhost")
		fields = append(fields, "type: STRICT_DNS", "dns_lookup_family: V4_ONLY", "load_assignment: "+assignment)
	}
	protocol := "http_protocol_options"
	if w.morph.tls {
		fields = append(fields, harness.UpstreamTLS(w.b.ca.Trust()))
		protocol = "http2_protocol_options"
	}
	fields = append(fields, harness.UpstreamHTTP(idle+"explicit_http_config: {"+protocol+": {}}"))
	return "{name: morph, " + strings.Join(fields, ", ") + "}"
}

func (w *world) endpoints() map[string]string {
	var echo []netip.AddrPort
	for _, i := range w.tcp {
		echo = append(echo, w.b.echo[i].Addr)
	}
	all := map[string]string{
		"flap": harness.Endpoints("flap", w.http(w.flap)...), "keep": harness.Endpoints("keep", w.b.plain[3].Addr), "tcp": harness.Endpoints("tcp", echo...),
	}
	if w.morph.kind == morphEDS {
		all["morph"] = harness.Endpoints("morph", w.http(w.morph.hosts)...)
	}
	return all
}

// routeTo is a route whose timeout is short, since what waits for it keeps the memory of its request so long.
func routeTo(prefix, cluster string) string {
	return fmt.Sprintf("{match: {prefix: %s}, route: {cluster: %s, timeout: 2s}}", prefix, cluster)
}

func (w *world) routes() map[string]string {
	split := fmt.Sprintf(`{match: {prefix: /split}, route: {timeout: 2s, weighted_clusters: {clusters: [{name: one, weight: %d}, {name: two, weight: %d}]}}}`,
		w.weights[0], w.weights[1])
	routes := []string{routeTo("/flap", "flap"), split, routeTo("/morph", "morph")}
	optional := `{match: {prefix: /opt}, direct_response: {status: 404}}`
	if w.optional > 0 {
		optional = routeTo("/opt", fmt.Sprint("optional", w.optional))
	}
	return map[string]string{
		"stable": harness.RouteConfig("stable", routeTo("/", "stable")),
		"main":   harness.RouteConfig("main", append(routes, optional, routeTo("/", "stable"))...),
		"keep":   harness.RouteConfig("keep", routeTo("/", "keep")),
	}
}

func rds(name string, more ...string) string {
	return harness.HTTPManager(append(more, fmt.Sprintf("rds: {route_config_name: %s, config_source: %s}", name, ads))...)
}

func (w *world) listeners() map[string]string {
	chain := func(filter string) []string { return []string{harness.Chain(filter)} }
	left, right := leftAddr, rightAddr
	if w.swapped {
		left, right = right, left
	}
	all := []harness.Listener{
		{Name: "stable", Address: stableAddr, Chains: chain(rds("stable"))},
		{Name: "main", Address: mainAddr, Chains: chain(rds("main", fmt.Sprintf("server_name: main%d", w.main)))},
		{Name: "tls", Address: tlsAddr, InspectTLS: true, Chains: w.tlsChains()},
		{Name: "tcp", Address: tcpAddr, Chains: chain(harness.TCP("tcp"))},
		{Name: "long", Address: longAddr, Chains: chain(harness.TCP("long"))},
		{Name: "left", Address: left, Chains: chain(harness.HTTP(routeTo("/", "one")))},
		{Name: "right", Address: right, Chains: chain(harness.HTTP(routeTo("/", "two")))},
		{Name: "options", Address: optionsAddr, Chains: chain(rds("stable")), More: w.socketOptions()},
		{Name: "keep", Address: keepAddr, Chains: chain(rds("keep"))},
	}
	if w.come > 0 {
		all = append(all, harness.Listener{Name: "come", Address: comeAddr, Chains: chain(rds("stable", fmt.Sprintf("server_name: come%d", w.come)))})
	}
	for i := range w.virtual {
		name := fmt.Sprint("virtual", i)
		all = append(all, harness.Listener{Name: name, Address: fmt.Sprintf("10.99.0.%d:80", i+1), Virtual: true, Chains: chain(rds("main"))})
	}
	out := map[string]string{}
	for _, l := range all {
		out[l.Name] = l.YAML()
	}
	return out
}

func (w *world) socketOptions() string {
	return fmt.Sprintf("freebind: %t, tcp_backlog_size: %d", w.options&1 == 1, 128+w.options&2)
}

func (w *world) tlsChains() []string {
	sds := harness.DownstreamTLS("tls_certificate_sds_secret_configs: [{name: cert, sds_config: " + ads + "}]")
	chains := []string{harness.Chain(rds("main"), "name: shop", "filter_chain_match: {server_names: [shop.test]}", sds)}
	if w.extra {
		chains = append(chains, harness.Chain(rds("stable"), "name: extra", "filter_chain_match: {server_names: [extra.test]}", sds))
	}
	return chains
}

// wanted are the resources that must be in force, by type and name.
type wanted map[string]map[string]proto.Message

// resources gives what is served, and what of it must be in force: the same, but for the bad one.
func (r *run) resources(w *world) (served []proto.Message, want wanted) {
	texts := map[string]map[string]string{
		"Cluster": w.clusters(), "ClusterLoadAssignment": w.endpoints(), "RouteConfiguration": w.routes(), "Listener": w.listeners(),
		"Secret": {"cert": w.certificate.SecretYAML("cert")},
	}
	want = wanted{}
	for kind, byName := range texts {
		want[kind] = map[string]proto.Message{}
		for name, text := range byName {
			m := r.decode(kind, text)
			want[kind][name] = m
			if w.bad == kind+" "+name {
				m = r.decode(kind, r.badForm(kind, name))
			}
			served = append(served, m)
		}
	}
	if kind, isNew := strings.CutSuffix(w.bad, " new"); isNew {
		served = append(served, r.decode(kind, r.badForm(kind, "new")))
	}
	return served, want
}

func (r *run) decode(kind, text string) proto.Message {
	r.t.Helper()
	m := map[string]func() proto.Message{
		"Cluster":               func() proto.Message { return &clusterv3.Cluster{} },
		"ClusterLoadAssignment": func() proto.Message { return &endpointv3.ClusterLoadAssignment{} },
		"RouteConfiguration":    func() proto.Message { return &routev3.RouteConfiguration{} },
		"Listener":              func() proto.Message { return &listenerv3.Listener{} },
		"Secret":                func() proto.Message { return &tlsv3.Secret{} },
	}[kind]()
	return harness.Resource(r.t, m, text)
}

// badResources are the ones that are at times served in a form that weir must reject: nothing in the world changes them.
var badResources = []string{"Cluster stable", "Cluster new", "Listener keep", "Listener new", "RouteConfiguration keep", "ClusterLoadAssignment keep"}

// badForm is well-formed, and cannot be served.
func (r *run) badForm(kind, name string) string {
	switch kind {
	case "Cluster":
		return fmt.Sprintf("{name: %s, cluster_type: {name: no.such.cluster}}", name)
	case "Listener":
		mongo := `{name: mongo, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy, stat_prefix: x}}`
		return harness.Listener{Name: name, Address: "127.0.0.1:8099", Chains: []string{harness.Chain(mongo)}}.YAML()
	case "RouteConfiguration":
		return harness.RouteConfig(name, "{match: {safe_regex: {regex: '('}}, route: {cluster: stable}}")
	default:
		return fmt.Sprintf("{cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: not.an.address, port_value: 1}}}}]}]}", name)
	}
}
