package view

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/agent/options"
	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/runtime"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
	"github.com/weir-proxy/weir/test/golden"
)

// sources take subscriptions and deliver nothing.
type sources struct{}

func (sources) Subscribe(*model.Source, string, string)   {}
func (sources) Unsubscribe(*model.Source, string, string) {}
func (sources) SubscribeAll(*model.Source, string)        {}
func (sources) UnsubscribeAll(*model.Source, string)      {}

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// certificate makes a certificate that is its own authority, and its key.
func certificate(t testing.TB) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse("spiffe://shop/web")
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xabc), NotBefore: epoch(), NotAfter: epoch().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"shop.example"}, URIs: []*url.URL{uri},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	raw, err2 := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// world is a real store and real clusters of testdata/bootstrap.yaml, after some responses of a control plane.
type world struct {
	store    *store.Store
	clusters *cluster.Manager
	key      []byte
	static   *translate.Static
}

func newWorld(t testing.TB) *world {
	t.Helper()
	cert, key := certificate(t)
	files := map[string][]byte{"cert.pem": cert, "ca.pem": cert, "key.pem": key}
	registry, err := extension.NewRegistry(extension.Factory{
		Category: extension.HTTPFilters, Name: "envoy.filters.http.router", Config: &routerv3.Router{},
		Decode: func(proto.Message) (any, error) { return struct{}{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	translator, err := translate.New(translate.Options{Registry: registry, ReadFile: func(path string) ([]byte, error) {
		if b, ok := files[path]; ok {
			return b, nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}})
	if err != nil {
		t.Fatal(err)
	}
	boot := &bootstrapv3.Bootstrap{}
	if _, err := protoyaml.DecodeFile("testdata/bootstrap.yaml", boot, protoyaml.Options{}); err != nil {
		t.Fatal(err)
	}
	static, _, err := translator.Bootstrap(boot, translate.Meta{UpdatedAt: epoch()})
	if err != nil {
		t.Fatal(err)
	}
	root, wheel := stats.NewStore().Root(), timer.New()
	w := &world{key: key, static: static, clusters: cluster.New(cluster.Options{Stats: root, Wheel: wheel, Poller: conntest.Poller(t)})}
	t.Cleanup(w.clusters.Close)
	w.store = store.New(store.Options{Translate: translator, Sources: sources{}, Publish: w.clusters.Apply, Stats: root, Log: log.ForTest(t)})
	w.store.Load(static, boot)
	w.store.Follow(static.CDS, xds.ClusterType)
	w.store.Follow(static.LDS, xds.ListenerType)
	w.deliver(t)
	return w
}

// deliver brings a cluster and a listener that warm, a listener with routes of RDS, and two that are rejected.
func (w *world) deliver(t testing.TB) {
	t.Helper()
	ads := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, ResourceApiVersion: corev3.ApiVersion_V3}
	eds := &clusterv3.Cluster{
		Name: "web", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads, ServiceName: "web-eds"},
	}
	bad := &clusterv3.Cluster{Name: "bad", ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{Name: "unheard.of"}}}
	if err := w.store.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "c1", Full: true, Resources: resources(t, eds, bad)}); err == nil {
		t.Fatal("a cluster of an unknown type was accepted")
	}
	var listeners []proto.Message
	for _, name := range []string{"one", "two"} {
		l := &listenerv3.Listener{}
		const text = `{name: NAME, address: {socket_address: {address: 127.0.0.2, port_value: PORT}}, filter_chains: [{filters: [{name: http, typed_config: {
			"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x,
			rds: {route_config_name: routes-NAME, config_source: {ads: {}, resource_api_version: V3}},
			http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}`
		port := map[string]string{"one": "81", "two": "82"}[name]
		if _, err := protoyaml.Decode([]byte(strings.NewReplacer("NAME", name, "PORT", port).Replace(text)), name, l, protoyaml.Options{}); err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	if err := w.store.Update(t.Context(), xds.Update{Type: xds.ListenerType, Version: "l1", Full: true, Resources: resources(t, listeners...)}); err != nil {
		t.Fatal(err)
	}
	routes := &routev3.RouteConfiguration{Name: "routes-one"}
	if err := w.store.Update(t.Context(), xds.Update{Type: xds.RouteType, Version: "r1", Resources: resources(t, routes)}); err != nil {
		t.Fatal(err)
	}
}

func resources(t testing.TB, list ...proto.Message) []xds.Resource {
	t.Helper()
	var out []xds.Resource
	for _, m := range list {
		packed, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, xds.Resource{Version: "v", Body: packed})
	}
	return out
}

func (w *world) server(t testing.TB) *admin.Server {
	t.Helper()
	config := Config{Dump: w.store.Dump, Clusters: w.clusters.All, Now: epoch}
	s, err := admin.New(admin.Options{
		Address: netip.MustParseAddrPort("127.0.0.1:0"), Stats: stats.NewStore(), Log: log.New(log.Options{Output: io.Discard}),
		Server: &Server{
			Started: time.Now(), Flags: &options.Options{Mode: options.Serve}, NodeOf: func() *corev3.Node { return nil },
			StateOf: func() string { return "LIVE" },
		},
		Control: noControl{}, ConfigDump: config, ClientStatus: config, InitDump: config, Certificates: config, Clusters: Clusters{w.clusters.All},
		Listeners: Listeners{Snapshot: w.store.Snapshot, Bound: func(name string) []netip.AddrPort {
			if name == "ingress" {
				return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:43210")}
			}
			return nil
		}},
		Runtime: layers(t, nil),
		Interception: Interception{
			Interceptor: func() Interceptor { return fakeInterceptor{} }, Offload: offloaded, Datagrams: func() (Datagrams, error) { return fakeDatagrams{}, nil },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

type noControl struct{}

func (noControl) Quit()                       {}
func (noControl) DrainListeners(_, _, _ bool) {}
func (noControl) FailHealthcheck(bool)        {}
func (noControl) ReopenLogs()                 {}

type fakeInterceptor struct{}

func (fakeInterceptor) Status() (intercept.Status, error) {
	return intercept.Status{
		Generation: 3, ProxyMark: 7,
		Capture: []intercept.NamespaceCapture{{Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:15001")}}},
		Plan: &steer.Plan{Rules: []steer.Rule{{
			Prefix: netip.MustParsePrefix("10.99.0.1/32"), Port: 80, Action: steer.Redirect, Listener: "one", Origin: "listener one",
		}}},
		Programs: []intercept.Program{{Name: "weir_connect4", ID: 11}},
		Cgroups: []attach.CgroupStatus{{Dir: "/sys/fs/cgroup/x", Name: "/x", ID: 5, Hooks: []attach.HookStatus{{
			Hook: "CGroupInet4Connect", LinkID: 9, Programs: []intercept.HookProgram{
				{ID: 11, Name: "weir_connect4", Weir: true}, {ID: 12, Name: "weir_udp_connect4"}, {ID: 13, Name: "sock4_connect"},
			},
		}}}},
	}, nil
}

func (fakeInterceptor) Counters() (map[string]uint64, error) {
	return map[string]uint64{"not_tcp": 1, "disabled": 0, "proxy_mark": 4}, nil
}

// volatile matches the times at which the store accepted things.
var volatile = regexp.MustCompile(`"(last_updated|last_update_attempt)": "[^"]+"`)

func TestGolden(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	for file, target := range map[string]string{
		"config_dump.json": "/config_dump?include_eds", "config_dump_routes.json": "/config_dump?resource=static_route_configs&name_regex=in.*",
		"init_dump.json": "/init_dump", "certs.json": "/certs", "clusters.txt": "/clusters", "clusters.json": "/clusters?format=json",
		"listeners.txt": "/listeners", "runtime.json": "/runtime", "interception.json": "/weir/interception", "interception.txt": "/weir/interception?format=text",
	} {
		t.Run(file, func(t *testing.T) {
			r := httptest.NewRecorder()
			s.ServeHTTP(r, httptest.NewRequest(http.MethodGet, target, nil))
			body := volatile.ReplaceAllString(r.Body.String(), `"$1": "T"`)
			if r.Code != 200 || strings.HasSuffix(file, ".json") && !json.Valid([]byte(body)) {
				t.Errorf("%d %s", r.Code, body)
			}
			if key, _ := pem.Decode(w.key); strings.Contains(body, string(key.Bytes)) || strings.Contains(body, "PRIVATE KEY") {
				t.Error("holds a private key")
			}
			golden.Check(t, "testdata/"+file, body)
		})
	}
}

// layers is a runtime of a static layer and an admin layer.
func layers(t testing.TB, base map[string]model.RuntimeValue) Runtime {
	t.Helper()
	r, err := runtime.New(runtime.Options{
		Layers: []runtime.Layer{{Name: "base", Values: base}, {Name: "admin", Admin: true}},
		Stats:  stats.NewStore().Root(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return Runtime{Of: r}
}

func TestRuntime(t *testing.T) {
	r := layers(t, map[string]model.RuntimeValue{"a": runtime.Parse("12.5"), "b": runtime.Parse("x")})
	if err := r.Modify(map[string]string{"b": "y"}); err != nil {
		t.Fatal(err)
	}
	want := []admin.RuntimeLayer{
		{Name: "base", Values: map[string]string{"a": "12.5", "b": "x"}}, {Name: "admin", Values: map[string]string{"b": "y"}},
	}
	if diff := cmp.Diff(want, r.Layers()); diff != "" {
		t.Error(diff)
	}
}

func TestInterceptionUnavailable(t *testing.T) {
	v := Interception{Interceptor: func() Interceptor { return nil }, Unavailable: func() error { return errors.New("needs CAP_BPF") }}
	got, ok := v.InterceptionStatus().(*interceptionStatus)
	if !ok || got.Active || got.Error != "needs CAP_BPF" {
		t.Errorf("%+v", got)
	}
}

func TestCommandLine(t *testing.T) {
	got := CommandLine(&options.Options{
		ConfigPath: "c", Mode: options.Validate, DrainImmediately: true, LocalAddressIPv6: true, DrainTime: time.Minute,
		StatsTags: []options.StatsTag{{Name: "a", Value: "b"}},
	})
	if got.GetMode() != adminv3.CommandLineOptions_Validate || got.GetDrainStrategy() != adminv3.CommandLineOptions_Immediate ||
		got.GetLocalAddressIpVersion() != adminv3.CommandLineOptions_v6 || got.GetDrainTime().GetSeconds() != 60 ||
		got.GetLogLevel() != "info" || got.GetStatsTag()[0] != "a:b" || got.GetConfigPath() != "c" {
		t.Errorf("%v", got)
	}
}

// TestCommandLineIsComplete sets every option, and wants every field of the message that weir has a flag for.
func TestCommandLineIsComplete(t *testing.T) {
	o := &options.Options{}
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Uint, reflect.Uint32, reflect.Uint64:
			f.SetUint(7)
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(time.Second))
		}
	}
	o.Mode, o.DisabledExtensions, o.StatsTags = options.InitOnly, []string{"x"}, []options.StatsTag{{Name: "a", Value: "b"}}
	m := CommandLine(o).ProtoReflect()
	without := map[protoreflect.Name]string{
		"hot_restart_version":  "asks for a text and ends",
		"skip_deprecated_logs": "accepted without effect", "file_flush_min_size": "accepted without effect",
		"log_stacktrace_single_entry": "not a flag of 1.32",
	}
	for i := range m.Descriptor().Fields().Len() {
		fd := m.Descriptor().Fields().Get(i)
		if _, ok := without[fd.Name()]; !ok && !m.Has(fd) {
			t.Errorf("%s is not shown", fd.Name())
		}
	}
}

// offloaded has a listener of each outcome.
func offloaded() []steer.ListenerStatus {
	return []steer.ListenerStatus{
		{Listener: "kept", Kept: []string{"access_log needs user space"}},
		{Listener: "mixed", Offloaded: []string{"mixed/filter_chains[0]"}, Kept: []string{"filter_chains[1].filters[0] (http) needs user space"}},
		{Listener: "past", Offloaded: []string{"past"}},
		{Listener: "through", Passed: true},
	}
}
