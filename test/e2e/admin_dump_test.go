package e2e

import (
	"slices"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weir-proxy/weir/test/harness"
)

// strictly decodes a page as istioctl and egctl do: unknown fields and types are errors.
func strictly[M proto.Message](t *testing.T, page string, into M) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(page), into); err != nil {
		t.Fatalf("%T: %v", into, err)
	}
	return into
}

// TestConfigDumpOfAMesh decodes what the tools of control planes decode, with something rejected and something that warms. (A delta
// control plane would tell that there is nothing to wait for.)
func TestConfigDumpOfAMesh(t *testing.T) {
	t.Parallel()
	m := startMesh(t, "GRPC")
	if got := m.body(t); got != "one" {
		t.Fatalf("got %q", got)
	}
	m.more = []proto.Message{
		harness.Resource(t, &clusterv3.Cluster{}, `{name: bad, cluster_type: {name: unheard.of}}`),
		harness.Resource(t, &clusterv3.Cluster{}, `{name: warm, type: EDS, eds_cluster_config: {eds_config: {resource_api_version: V3, initial_fetch_timeout: 0s, ads: {}}}}`),
		harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: "waits", Address: "127.0.0.1:8099", Chains: []string{harness.Chain(
			harness.HTTPManager("rds: {route_config_name: absent, config_source: {resource_api_version: V3, initial_fetch_timeout: 0s, ads: {}}}"))}}.YAML()),
	}
	m.control.Set(m.resources()...)
	m.weir.AwaitStat("listener_manager.total_listeners_warming", func(n int) bool { return n == 1 })
	m.weir.AwaitStat("cluster_manager.cds.update_rejected", func(n int) bool { return n > 0 })
	m.checkDump(t)
	m.checkOtherPages(t)
}

func (m *meshed) checkDump(t *testing.T) {
	t.Helper()
	dump := strictly(t, m.weir.Page("/config_dump?include_eds"), &adminv3.ConfigDump{})
	var types []string
	for _, c := range dump.GetConfigs() {
		part, err := c.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, string(part.ProtoReflect().Descriptor().Name()))
		switch part := part.(type) {
		case *adminv3.BootstrapConfigDump:
			if part.GetBootstrap().GetNode().GetId() != "e2e" || part.GetLastUpdated() == nil {
				t.Errorf("bootstrap: %v", part)
			}
		case *adminv3.ClustersConfigDump:
			checkClusters(t, part)
		case *adminv3.ListenersConfigDump:
			checkListeners(t, part)
		case *adminv3.EndpointsConfigDump:
			checkEndpoints(t, part)
		case *adminv3.RoutesConfigDump:
			if r := part.GetDynamicRouteConfigs(); len(r) != 1 || r[0].GetVersionInfo() == "" || r[0].GetClientStatus() != adminv3.ClientResourceStatus_ACKED {
				t.Errorf("routes: %v", part)
			}
		case *adminv3.SecretsConfigDump:
			if s := part.GetDynamicActiveSecrets(); len(s) != 1 || s[0].GetName() != "cert" || !strings.Contains(s[0].String(), "[redacted]") || strings.Contains(s[0].String(), "PRIVATE KEY") {
				t.Errorf("secrets: %v", part)
			}
		}
	}
	want := []string{"BootstrapConfigDump", "ClustersConfigDump", "EndpointsConfigDump", "ListenersConfigDump", "ScopedRoutesConfigDump", "RoutesConfigDump", "SecretsConfigDump"}
	if len(types) > 0 && types[len(types)-1] == "Struct" {
		types = types[:len(types)-1] // findings
	}
	if !slices.Equal(types, want) {
		t.Errorf("sections %v, want %v", types, want)
	}
}

func checkClusters(t *testing.T, d *adminv3.ClustersConfigDump) {
	t.Helper()
	if len(d.GetStaticClusters()) != 1 || len(d.GetDynamicActiveClusters()) != 2 {
		t.Errorf("%d static and %d active clusters", len(d.GetStaticClusters()), len(d.GetDynamicActiveClusters()))
	}
	seen := map[string]bool{}
	for _, c := range d.GetDynamicWarmingClusters() {
		switch e := c.GetErrorState(); {
		case e == nil:
			seen["warming"] = c.GetCluster() != nil && c.GetVersionInfo() != "" && c.GetClientStatus() == adminv3.ClientResourceStatus_ACKED
		default:
			failed := &clusterv3.Cluster{}
			if err := e.GetFailedConfiguration().UnmarshalTo(failed); err != nil {
				t.Error(err)
			}
			seen["rejected"] = failed.GetName() == "bad" && strings.Contains(e.GetDetails(), "unheard.of") && e.GetLastUpdateAttempt() != nil &&
				e.GetVersionInfo() != "" && c.GetClientStatus() == adminv3.ClientResourceStatus_NACKED
		}
	}
	if !seen["warming"] || !seen["rejected"] {
		t.Errorf("warming clusters: %v", d.GetDynamicWarmingClusters())
	}
}

func checkListeners(t *testing.T, d *adminv3.ListenersConfigDump) {
	t.Helper()
	states := map[string]string{}
	for _, l := range d.GetDynamicListeners() {
		if s := l.GetActiveState(); s != nil && s.GetVersionInfo() != "" && s.GetLastUpdated() != nil && s.GetListener() != nil {
			states[l.GetName()] = "active"
		}
		if l.GetWarmingState().GetListener() != nil {
			states[l.GetName()] += "warming"
		}
	}
	if d.GetVersionInfo() == "" || states["plain"] != "active" || states["tls"] != "active" || states["waits"] != "warming" {
		t.Errorf("listeners: %v", states)
	}
}

func checkEndpoints(t *testing.T, d *adminv3.EndpointsConfigDump) {
	t.Helper()
	if len(d.GetStaticEndpointConfigs()) != 1 || len(d.GetDynamicEndpointConfigs()) != 2 {
		t.Errorf("%d static and %d dynamic endpoint configurations", len(d.GetStaticEndpointConfigs()), len(d.GetDynamicEndpointConfigs()))
	}
	for _, e := range d.GetDynamicEndpointConfigs() {
		if e.GetVersionInfo() == "" || e.GetClientStatus() != adminv3.ClientResourceStatus_ACKED || !strings.Contains(e.GetEndpointConfig().String(), "127.0.0.1") {
			t.Errorf("endpoints: %v", e)
		}
	}
}

func (m *meshed) checkOtherPages(t *testing.T) {
	t.Helper()
	if c := strictly(t, m.weir.Page("/clusters?format=json"), &adminv3.Clusters{}).GetClusterStatuses(); len(c) != 3 || c[0].GetName() != "one" || !c[0].GetAddedViaApi() {
		t.Errorf("clusters: %v", c)
	}
	if c := strictly(t, m.weir.Page("/clusters?format=json&filter=tw"), &adminv3.Clusters{}).GetClusterStatuses(); len(c) != 1 {
		t.Errorf("filtered clusters: %v", c)
	}
	certs := strictly(t, m.weir.Page("/certs"), &adminv3.Certificates{}).GetCertificates()
	if len(certs) != 1 || certs[0].GetCertChain()[0].GetSubjectAltNames()[0].GetDns() != "shop.test" {
		t.Errorf("certificates: %v", certs)
	}
	if l := strictly(t, m.weir.Page("/listeners?format=json"), &adminv3.Listeners{}).GetListenerStatuses(); len(l) != 2 {
		t.Errorf("listeners: %v", l)
	}
	if s := strictly(t, m.weir.Page("/server_info"), &adminv3.ServerInfo{}); s.GetState() != adminv3.ServerInfo_LIVE || s.GetCommandLineOptions().GetConcurrency() == 0 {
		t.Errorf("server info: %v", s)
	}
	strictly(t, m.weir.Page("/memory"), &adminv3.Memory{})
	strictly(t, m.weir.Page("/runtime"), &structpb.Struct{})
	if d := strictly(t, m.weir.Page("/init_dump?mask=listener"), &adminv3.UnreadyTargetsDumps{}).GetUnreadyTargetsDumps(); len(d) != 1 || !strings.Contains(d[0].String(), "absent") {
		t.Errorf("init dump: %v", d)
	}
	status, body := m.weir.Post("/v3/discovery:client_status")
	configs := strictly(t, body, &statusv3.ClientStatusResponse{}).GetConfig()
	if status != 200 || len(configs) != 1 || configs[0].GetNode().GetId() != "e2e" {
		t.Fatalf("client status: %d %v", status, configs)
	}
	by := map[string]adminv3.ClientResourceStatus{}
	for _, c := range configs[0].GetGenericXdsConfigs() {
		by[c.GetTypeUrl()[strings.LastIndexByte(c.GetTypeUrl(), '.')+1:]+" "+c.GetName()] = c.GetClientStatus()
	}
	for name, want := range map[string]adminv3.ClientResourceStatus{
		"Cluster one": adminv3.ClientResourceStatus_ACKED, "Cluster bad": adminv3.ClientResourceStatus_NACKED,
		"Listener plain": adminv3.ClientResourceStatus_ACKED, "RouteConfiguration main": adminv3.ClientResourceStatus_ACKED,
		"ClusterLoadAssignment one": adminv3.ClientResourceStatus_ACKED, "Secret cert": adminv3.ClientResourceStatus_ACKED,
		"RouteConfiguration absent": adminv3.ClientResourceStatus_REQUESTED, "ClusterLoadAssignment warm": adminv3.ClientResourceStatus_REQUESTED,
	} {
		if by[name] != want {
			t.Errorf("%s is %s, want %s", name, by[name], want)
		}
	}
}
