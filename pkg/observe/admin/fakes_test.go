package admin

import (
	"cmp"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
)

// fake stands for everything that admin shows and controls.
type fake struct {
	state string

	mu    sync.Mutex
	calls []string
	admin map[string]string
}

func (f *fake) call(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
}

func (f *fake) State() string                  { return f.state }
func (f *fake) UptimeAllEpochs() time.Duration { return 3 * time.Hour }
func (f *fake) HotRestartVersion() string      { return "weir.0" }
func (f *fake) Uptime() time.Duration          { return 90*time.Second + 5*time.Millisecond }
func (f *fake) Version() string                { return "abc/1.32.0/Clean/RELEASE/Go" }

func (f *fake) Options() *adminv3.CommandLineOptions {
	return &adminv3.CommandLineOptions{ConfigPath: "weir.yaml", Concurrency: 2, LogLevel: "info", DrainTime: durationpb.New(600 * time.Second), ConfigYaml: inlineYAML}
}

func (f *fake) Node() *corev3.Node {
	return &corev3.Node{Id: "n1", Cluster: "shop", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"role": structpb.NewStringValue("web")}}}
}

func (f *fake) Quit()       { f.call("quit") }
func (f *fake) ReopenLogs() { f.call("reopen") }

func (f *fake) DrainListeners(graceful, inboundOnly, skipExit bool) {
	name := "drain"
	for flag, set := range map[string]bool{" graceful": graceful, " inboundonly": inboundOnly, " skip_exit": skipExit} {
		if set {
			name += flag
		}
	}
	words := strings.Fields(name)
	slices.Sort(words[1:])
	f.call(strings.Join(words, " "))
}

func (f *fake) FailHealthcheck(fail bool) {
	f.call(map[bool]string{true: "fail", false: "ok"}[fail])
}

func (f *fake) Clusters(keep func(string) bool) iter.Seq[Cluster] {
	return func(yield func(Cluster) bool) {
		for _, c := range allClusters() {
			if keep(c.Status.GetName()) && !yield(c) {
				return
			}
		}
	}
}

func allClusters() []Cluster {
	threshold := func(p corev3.RoutingPriority) *clusterv3.CircuitBreakers_Thresholds {
		return &clusterv3.CircuitBreakers_Thresholds{
			Priority: p, MaxConnections: wrapperspb.UInt32(1024), MaxPendingRequests: wrapperspb.UInt32(1024),
			MaxRequests: wrapperspb.UInt32(1024), MaxRetries: wrapperspb.UInt32(3),
		}
	}
	breakers := &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
		threshold(corev3.RoutingPriority_DEFAULT), threshold(corev3.RoutingPriority_HIGH),
	}}
	host := &adminv3.HostStatus{
		Address: socket("10.0.0.1", 8080), Hostname: "a.shop", Weight: 1, Priority: 1,
		Locality:     &corev3.Locality{Region: "eu", Zone: "a"},
		HealthStatus: &adminv3.HostHealthStatus{EdsHealthStatus: corev3.HealthStatus_HEALTHY},
		Stats: []*adminv3.SimpleMetric{
			{Name: "rq_total", Value: 7}, {Name: "cx_active", Type: adminv3.SimpleMetric_GAUGE, Value: 2},
		},
	}
	ill := &adminv3.HostStatus{
		Address: socket("fd00::1", 80), Weight: 3, SuccessRate: &typev3.Percent{Value: 99.5},
		HealthStatus: &adminv3.HostHealthStatus{FailedActiveHealthCheck: true, FailedOutlierCheck: true, EdsHealthStatus: corev3.HealthStatus_DRAINING},
	}
	pipe := &adminv3.HostStatus{Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/x.sock"}}}, Weight: 1}
	return []Cluster{
		{Status: &adminv3.ClusterStatus{Name: "local", ObservabilityName: "local", CircuitBreakers: breakers, HostStatuses: []*adminv3.HostStatus{pipe}}},
		{
			Status: &adminv3.ClusterStatus{
				Name: "web", ObservabilityName: "web_alt", AddedViaApi: true, EdsServiceName: "web-eds", CircuitBreakers: breakers,
				SuccessRateEjectionThreshold: &typev3.Percent{Value: 97.25}, HostStatuses: []*adminv3.HostStatus{host, ill},
			},
			Outlier: &OutlierAverages{SuccessRate: 99.1, LocalOriginSuccessRate: -1}, Canary: []bool{true},
		},
	}
}

func (f *fake) Listeners() *adminv3.Listeners {
	return &adminv3.Listeners{ListenerStatuses: []*adminv3.ListenerStatus{
		{Name: "ingress", LocalAddress: socket("0.0.0.0", 80), AdditionalLocalAddresses: []*corev3.Address{socket("::", 80)}},
		{Name: "egress", LocalAddress: socket("127.0.0.1", 15001)},
	}}
}

func (f *fake) InitDump() *adminv3.UnreadyTargetsDumps {
	return &adminv3.UnreadyTargetsDumps{UnreadyTargetsDumps: []*adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{
		{Name: "init manager Cluster web", TargetNames: []string{"target EDS web"}},
		{Name: "init manager Listener-local-init-manager ingress", TargetNames: []string{"target RDS r"}},
	}}
}

func (f *fake) Certificates() *adminv3.Certificates {
	return &adminv3.Certificates{Certificates: []*adminv3.Certificate{{CertChain: []*adminv3.CertificateDetails{{
		Path: "cert.pem", SerialNumber: "0a", ValidFrom: timestamppb.New(epoch()), ExpirationTime: timestamppb.New(epoch().AddDate(1, 0, 0)),
		SubjectAltNames: []*adminv3.SubjectAlternateName{{Name: &adminv3.SubjectAlternateName_Dns{Dns: "shop.example"}}},
	}}}}}
}

func (f *fake) Layers() []RuntimeLayer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []RuntimeLayer{{"static", map[string]string{"a.b": "1", "c": "x"}}, {"admin", maps.Clone(f.admin)}}
}

func (f *fake) Modify(values map[string]string) error {
	if values["refuse"] != "" {
		return errors.New("No admin layer specified")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.admin, values)
	return nil
}

func (f *fake) InterceptionStatus() any {
	return struct {
		Active   bool              `json:"active"`
		Programs []string          `json:"programs"`
		Counters map[string]uint64 `json:"counters"`
	}{true, []string{"weir_connect4", "weir_connect6"}, map[string]uint64{"captured": 3, "no_rule": 10}}
}

// fakeConnections repeats the limit.
type fakeConnections struct {
	Limit int `json:"limit"`
}

func (c fakeConnections) Text() string { return fmt.Sprintln("at most", c.Limit) }

func (f *fake) LiveConnections(limit int) ConnectionList { return fakeConnections{limit} }

// fakeExplanation repeats the question.
type fakeExplanation struct {
	Query string `json:"query"`
}

func (e *fakeExplanation) Text() string { return e.Query + "\n" }

func (f *fake) Explain(params url.Values) (Explanation, error) {
	if params.Get("dst") == "nowhere" {
		return nil, errors.New(`dst: "nowhere" is not IP:PORT`)
	}
	return &fakeExplanation{params.Encode()}, nil
}

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func socket(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// inlineYAML is a --config-yaml that holds a key.
const inlineYAML = `{static_resources: {secrets: [{name: s, tls_certificate: {private_key: {inline_string: "` + secretBytes + `"}}}]}}`

// secretBytes stands for every private key in the fake configuration.
const secretBytes = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}

func privateKey() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(secretBytes)})) + secretBytes
}

func certificate() *tlsv3.TlsCertificate {
	return &tlsv3.TlsCertificate{
		CertificateChain: inline("public chain"), PrivateKey: inline(privateKey()), Password: inline(secretBytes),
	}
}

func mustPack(m proto.Message) *anypb.Any {
	packed, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return packed
}

func transportSocket(context proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: mustPack(context)}}
}

func tlsCommon() *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{certificate()}}
}

// typedStructTLS is a context given as a typed struct, as some control planes send it.
func typedStructTLS(typeURL string) *xdstypev3.TypedStruct {
	value, err := structpb.NewStruct(map[string]any{"common_tls_context": map[string]any{"tls_certificates": []any{map[string]any{
		"certificate_chain": map[string]any{"inline_string": "public chain"},
		"private_key":       map[string]any{"inline_string": privateKey()},
	}}}})
	if err != nil {
		panic(err)
	}
	return &xdstypev3.TypedStruct{TypeUrl: typeURL, Value: value}
}

// section takes the lists of a message out of it.
func section(m proto.Message) Section {
	s := Section{Message: proto.Clone(m)}
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if field.IsList() && field.Message() != nil {
			s.Message.ProtoReflect().Clear(field)
			s.Lists = append(s.Lists, List{string(field.Name()), func(yield func(proto.Message) bool) {
				for i := range v.List().Len() {
					if !yield(v.List().Get(i).Message().Interface()) {
						return
					}
				}
			}})
		}
		return true
	})
	slices.SortFunc(s.Lists, func(a, b List) int {
		number := func(l List) protoreflect.FieldNumber {
			return m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(l.Field)).Number()
		}
		return cmp.Compare(number(a), number(b))
	})
	return s
}

func (f *fake) ConfigDump(filter ConfigFilter) []Section {
	var out []Section
	for _, m := range f.dump(filter) {
		out = append(out, section(m))
	}
	return out
}

func (f *fake) ClientStatus() iter.Seq[*statusv3.ClientConfig_GenericXdsConfig] {
	return func(yield func(*statusv3.ClientConfig_GenericXdsConfig) bool) {
		secret := &tlsv3.Secret{Name: "server", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: certificate()}}
		_ = yield(&statusv3.ClientConfig_GenericXdsConfig{
			TypeUrl: typeURL(secret), Name: "server", VersionInfo: "v3", XdsConfig: mustPack(secret), LastUpdated: timestamppb.New(epoch()),
			ClientStatus: adminv3.ClientResourceStatus_ACKED,
		}) && yield(&statusv3.ClientConfig_GenericXdsConfig{
			TypeUrl: typeURL(secret), Name: "other", ClientStatus: adminv3.ClientResourceStatus_NACKED,
			ErrorState: &adminv3.UpdateFailureState{FailedConfiguration: mustPack(secret), Details: "no", VersionInfo: "v4"},
		})
	}
}

func (f *fake) Findings() iter.Seq[Finding] {
	return slices.Values([]Finding{
		{Message: "is read by nobody", Field: "watchdog", Code: "unsupported", File: "weir.yaml", Line: 3, Column: 5},
		{Type: "cluster", Name: "web", Field: "outlier_detection", Code: "unsupported", Message: "has no effect", Suggestion: "remove it"},
	})
}

func (f *fake) dump(filter ConfigFilter) []proto.Message {
	upstream := transportSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: tlsCommon()})
	cluster := &clusterv3.Cluster{Name: "static", TransportSocket: upstream}
	listener := &listenerv3.Listener{Name: "ingress", Address: socket("0.0.0.0", 443), FilterChains: []*listenerv3.FilterChain{{
		TransportSocket: transportSocket(&tlsv3.DownstreamTlsContext{CommonTlsContext: tlsCommon()}),
	}, {
		TransportSocket: transportSocket(typedStructTLS("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext")),
	}}}
	rejected := &listenerv3.Listener{Name: "bad", FilterChains: []*listenerv3.FilterChain{{
		TransportSocket: transportSocket(typedStructTLS("type.googleapis.com/unknown.Type")),
	}}}
	secret := &tlsv3.Secret{Name: "server", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: certificate()}}
	tickets := &tlsv3.Secret{Name: "tickets", Type: &tlsv3.Secret_SessionTicketKeys{SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{
		Keys: []*corev3.DataSource{{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(secretBytes)}}},
	}}}
	generic := &tlsv3.Secret{Name: "generic", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: inline(secretBytes)}}}
	boot := &bootstrapv3.Bootstrap{Node: f.Node(), StaticResources: &bootstrapv3.Bootstrap_StaticResources{
		Clusters: []*clusterv3.Cluster{cluster}, Listeners: []*listenerv3.Listener{listener}, Secrets: []*tlsv3.Secret{secret, tickets, generic},
	}}
	now := timestamppb.New(epoch())
	clusters := &adminv3.ClustersConfigDump{VersionInfo: "v1"}
	if filter.Name("static") {
		clusters.StaticClusters = []*adminv3.ClustersConfigDump_StaticCluster{{Cluster: mustPack(cluster), LastUpdated: now}}
	}
	if filter.Name("web") {
		clusters.DynamicActiveClusters = []*adminv3.ClustersConfigDump_DynamicCluster{{
			VersionInfo: "v1", Cluster: mustPack(&clusterv3.Cluster{Name: "web", AltStatName: "w", ConnectTimeout: durationpb.New(time.Second)}), LastUpdated: now,
		}}
	}
	parts := []proto.Message{&adminv3.BootstrapConfigDump{Bootstrap: boot, LastUpdated: now}, clusters}
	if filter.EDS {
		parts = append(parts, &adminv3.EndpointsConfigDump{})
	}
	return append(parts,
		&adminv3.ListenersConfigDump{
			StaticListeners: []*adminv3.ListenersConfigDump_StaticListener{{Listener: mustPack(listener), LastUpdated: now}},
			DynamicListeners: []*adminv3.ListenersConfigDump_DynamicListener{{Name: "bad", ErrorState: &adminv3.UpdateFailureState{
				FailedConfiguration: mustPack(rejected), Details: "unknown type", VersionInfo: "v2", LastUpdateAttempt: now,
			}}, {Name: "unknown", ErrorState: &adminv3.UpdateFailureState{
				FailedConfiguration: &anypb.Any{TypeUrl: "type.googleapis.com/no.Such", Value: []byte(secretBytes)},
			}}, {Name: "broken", ErrorState: &adminv3.UpdateFailureState{
				FailedConfiguration: &anypb.Any{TypeUrl: "type.googleapis.com/envoy.config.listener.v3.Listener", Value: []byte(secretBytes)},
			}}, {Name: "unprintable", ErrorState: &adminv3.UpdateFailureState{
				FailedConfiguration: mustPack(&clusterv3.Cluster{Name: "x", ConnectTimeout: &durationpb.Duration{Seconds: 1 << 60}}),
			}}},
		},
		&adminv3.ScopedRoutesConfigDump{},
		&adminv3.RoutesConfigDump{},
		&adminv3.SecretsConfigDump{StaticSecrets: []*adminv3.SecretsConfigDump_StaticSecret{
			{Name: "server", Secret: mustPack(secret)}, {Name: "tickets", Secret: mustPack(tickets)}, {Name: "generic", Secret: mustPack(generic)},
		}},
	)
}

func newFake(testing.TB) *fake { return &fake{state: "LIVE", admin: map[string]string{}} }
