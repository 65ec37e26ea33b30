package soak

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	_ "github.com/weir-proxy/weir/pkg/api/weir/interception/v1" // the bootstrap in /config_dump has it
	"github.com/weir-proxy/weir/test/harness"
)

// settleTime bounds how long a change may take to be in force, with the control plane up.
const settleTime = harness.Patience

// unsettled says in what the state of weir differs from the wanted one; nil when it does not.
func (r *run) unsettled(w *world, want wanted) error {
	have, err := r.inForce()
	if err != nil {
		return err
	}
	for kind, byName := range have {
		if got, all := slices.Sorted(maps.Keys(byName)), slices.Sorted(maps.Keys(want[kind])); !slices.Equal(got, all) {
			return fmt.Errorf("%s: in force are %v, want %v", kind, got, all)
		}
		for name, got := range byName {
			if !same(got, want[kind][name]) {
				return fmt.Errorf("%s %s is in force in another form:\n%v\nwant\n%v", kind, name, got, want[kind][name])
			}
		}
	}
	if err := r.hostsDiffer(want); err != nil {
		return err
	}
	if err := r.socketsDiffer(want); err != nil {
		return err
	}
	for _, name := range []string{"cluster_manager.warming_clusters", "listener_manager.total_listeners_warming"} {
		if n := r.weir.Stat(name); n != 0 {
			return fmt.Errorf("%s is %d", name, n)
		}
	}
	if n, want := r.weir.Stat("listener_manager.total_listeners_active"), len(want["Listener"]); n != want {
		return fmt.Errorf("%d listeners are active, want %d", n, want)
	}
	return nil
}

// same compares resources; a key is not shown, so that of a secret the certificate counts.
func same(a, b proto.Message) bool {
	if x, ok := a.(*tlsv3.Secret); ok {
		y, ok := b.(*tlsv3.Secret)
		return ok && x.GetTlsCertificate().GetCertificateChain().GetInlineString() == y.GetTlsCertificate().GetCertificateChain().GetInlineString()
	}
	return proto.Equal(a, b)
}

// inForce are the resources that /config_dump shows as active. What warms is an error.
func (r *run) inForce() (wanted, error) {
	dump := &adminv3.ConfigDump{}
	if err := protojson.Unmarshal([]byte(r.weir.Page("/config_dump")), dump); err != nil {
		return nil, fmt.Errorf("decode /config_dump: %w", err)
	}
	out := wanted{"Cluster": {}, "RouteConfiguration": {}, "Listener": {}, "Secret": {}}
	for _, part := range dump.GetConfigs() {
		m, err := part.UnmarshalNew()
		if err != nil {
			return nil, err
		}
		if err := out.add(m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (w wanted) add(part proto.Message) error {
	switch d := part.(type) {
	case *adminv3.ClustersConfigDump:
		for _, c := range d.GetDynamicWarmingClusters() {
			if c.GetCluster() != nil {
				return fmt.Errorf("a cluster warms: %v", c.GetCluster())
			}
		}
		for _, c := range d.GetDynamicActiveClusters() {
			w.put("Cluster", c.GetCluster())
		}
	case *adminv3.ListenersConfigDump:
		for _, l := range d.GetDynamicListeners() {
			if l.GetWarmingState() != nil {
				return fmt.Errorf("listener %s warms", l.GetName())
			}
			if l.GetActiveState() != nil {
				w.put("Listener", l.GetActiveState().GetListener())
			}
		}
	case *adminv3.RoutesConfigDump:
		for _, c := range d.GetDynamicRouteConfigs() {
			w.put("RouteConfiguration", c.GetRouteConfig())
		}
	case *adminv3.SecretsConfigDump:
		if n := len(d.GetDynamicWarmingSecrets()); n > 0 {
			return fmt.Errorf("%d secrets warm", n)
		}
		for _, s := range d.GetDynamicActiveSecrets() {
			w.put("Secret", s.GetSecret())
		}
	}
	return nil
}

func (w wanted) put(kind string, packed *anypb.Any) {
	m, err := packed.UnmarshalNew()
	if named, ok := m.(interface{ GetName() string }); err == nil && ok {
		w[kind][named.GetName()] = m
	}
}

// hostsDiffer compares the hosts that /clusters shows.
func (r *run) hostsDiffer(want wanted) error {
	all := &adminv3.Clusters{}
	if err := protojson.Unmarshal([]byte(r.weir.Page("/clusters?format=json")), all); err != nil {
		return fmt.Errorf("decode /clusters: %w", err)
	}
	for _, c := range all.GetClusterStatuses() {
		cfg, ok := want["Cluster"][c.GetName()].(*clusterv3.Cluster)
		if !ok {
			continue // the control plane's own
		}
		assignment := cfg.GetLoadAssignment()
		if cfg.GetType() == clusterv3.Cluster_EDS {
			assignment, _ = want["ClusterLoadAssignment"][c.GetName()].(*endpointv3.ClusterLoadAssignment)
		}
		var hosts []string
		for _, h := range c.GetHostStatuses() {
			a := h.GetAddress().GetSocketAddress()
			hosts = append(hosts, net.JoinHostPort(a.GetAddress(), strconv.Itoa(int(a.GetPortValue()))))
		}
		slices.Sort(hosts)
		if wanted := hostsOf(assignment); !slices.Equal(hosts, wanted) {
			return fmt.Errorf("cluster %s has hosts %v, want %v", c.GetName(), hosts, wanted)
		}
	}
	return nil
}

func hostsOf(a *endpointv3.ClusterLoadAssignment) []string {
	var out []string
	for _, l := range a.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			s := e.GetEndpoint().GetAddress().GetSocketAddress()
			host := strings.Replace(s.GetAddress(), "localhost", "127.0.0.1", 1)
			out = append(out, net.JoinHostPort(host, strconv.Itoa(int(s.GetPortValue()))))
		}
	}
	slices.Sort(out)
	return out
}

// socketsDiffer compares what listens, as the kernel tells it by /proc/net/tcp of the process, with what should.
func (r *run) socketsDiffer(want wanted) error {
	listening, err := r.listening()
	if err != nil {
		return err
	}
	wanted := []uint16{9901}
	for _, m := range want["Listener"] {
		if l, ok := m.(*listenerv3.Listener); ok && (l.GetBindToPort() == nil || l.GetBindToPort().GetValue()) {
			wanted = append(wanted, uint16(l.GetAddress().GetSocketAddress().GetPortValue()))
		}
	}
	slices.Sort(wanted)
	if !slices.Equal(listening, wanted) {
		return fmt.Errorf("sockets listen on %v, want %v", listening, wanted)
	}
	return nil
}

// until waits until check returns nil, at most for the time given.
func until(limit time.Duration, check func() error) (took time.Duration, err error) {
	start := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = check(); err == nil || time.Since(start) > limit {
			return time.Since(start), err
		}
		<-tick.C
	}
}

// probeNow asks every address once with new connections, now that the world is in force: the answer must be the new one.
func (r *run) probeNow(w *world) {
	expect := w.expect()
	fresh := &http.Client{Transport: &http.Transport{DialContext: r.host.Dial, DisableKeepAlives: true}, Timeout: patience}
	for target, url := range map[string]string{
		"stable": stableAddr, "main": mainAddr, "flap": mainAddr + "/flap", "split": mainAddr + "/split", "morph": mainAddr + "/morph",
		"optional": mainAddr + "/opt", "left": leftAddr, "right": rightAddr, "come": comeAddr, "options": optionsAddr, "keep": keepAddr,
	} {
		if got, err := r.traffic.get(fresh, "http://"+url); !expect[target][got] {
			r.t.Errorf("settled, but a new connection to %s gives %s, want %s: %v", target, got, expect[target], err)
		}
	}
}

// port of an entry of /proc/net/tcp, such as 0100007F:1F90.
func port(hexAddr string) (uint16, error) {
	_, text, _ := strings.Cut(hexAddr, ":")
	n, err := strconv.ParseUint(text, 16, 16)
	return uint16(n), err
}
