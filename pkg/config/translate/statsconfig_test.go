package translate

import (
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

func bootstrapWith(t *testing.T, m *bootstrapv3.Bootstrap) (*Static, []Warning, error) {
	t.Helper()
	registry, err := extension.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(Options{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	return tr.Bootstrap(m, Meta{})
}

func TestStatsTagsThatAreNoRE2(t *testing.T) {
	regex := func(name, expr string) *metricsv3.TagSpecifier {
		return &metricsv3.TagSpecifier{TagName: name, TagValue: &metricsv3.TagSpecifier_Regex{Regex: expr}}
	}
	static, warnings, err := bootstrapWith(t, &bootstrapv3.Bootstrap{StatsConfig: &metricsv3.StatsConfig{StatsTags: []*metricsv3.TagSpecifier{
		regex("ahead", `^a(?=\.)(.*)`), regex("back", `(a)\1`), regex("plain", `(a)`),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(static.Stats.Tags) != 2 || static.Stats.Tags[0].Name != "ahead" || static.Stats.Tags[1].Name != "plain" {
		t.Errorf("tags %+v", static.Stats.Tags)
	}
	if len(warnings) != 1 || warnings[0].Path != "stats_config.stats_tags[1].regex" || !strings.Contains(warnings[0].Reason, `the tag "back" is not extracted`) {
		t.Errorf("warnings %v", warnings)
	}
}

// A tag without an expression is a built-in one; Envoy does not start with another.
func TestStatsTagsThatAreNotBuiltIn(t *testing.T) {
	named := func(name string) *bootstrapv3.Bootstrap {
		return &bootstrapv3.Bootstrap{StatsConfig: &metricsv3.StatsConfig{StatsTags: []*metricsv3.TagSpecifier{{TagName: name}}}}
	}
	if static, _, err := bootstrapWith(t, named("envoy.cluster_name")); err != nil || len(static.Stats.Tags) != 1 {
		t.Errorf("a built-in tag: %v", err)
	}
	for _, name := range []string{"", "envoy.clustername"} {
		if _, _, err := bootstrapWith(t, named(name)); err == nil || !strings.Contains(err.Error(), "stats_config.stats_tags[0]: ") {
			t.Errorf("tag %q: %v", name, err)
		}
	}
}

func TestStatsSinksThatWeirHasNot(t *testing.T) {
	config, err := anypb.New(&metricsv3.HystrixSink{})
	if err != nil {
		t.Fatal(err)
	}
	_, warnings, err := bootstrapWith(t, &bootstrapv3.Bootstrap{StatsSinks: []*metricsv3.StatsSink{
		{Name: "envoy.stat_sinks.hystrix", ConfigType: &metricsv3.StatsSink_TypedConfig{TypedConfig: config}}, {Name: "envoy.stat_sinks.wasm"},
	}})
	if err != nil || len(warnings) != 2 || warnings[0].Path != "stats_sinks[0]" || warnings[1].Code != CodeUnsupported {
		t.Errorf("%v, %v", warnings, err)
	}
	if _, _, err = bootstrapWith(t, &bootstrapv3.Bootstrap{StatsSinks: []*metricsv3.StatsSink{{Name: "my.sink"}}}); err == nil || !strings.Contains(err.Error(), "stats_sinks[0]") {
		t.Errorf("an unknown sink: %v", err)
	}
}

// tcpSink is the configuration of a sink that names a cluster.
type tcpSink string

func (c tcpSink) TCPCluster() string { return string(c) }

func TestStatsSinksNeedTheirClusters(t *testing.T) {
	static := &Static{Clusters: []*model.Cluster{{Resource: model.Resource{Name: "metrics"}}}, Sinks: []StatsSink{
		{Service: model.GRPCService{Cluster: "metrics"}}, {Service: model.GRPCService{Cluster: "metric"}}, {Config: tcpSink("statsd")}, {Config: tcpSink("")},
	}}
	_, err := static.Group().References()
	for _, want := range []string{
		"stats_sinks[1].typed_config.grpc_service.envoy_grpc.cluster_name: unknown gRPC cluster 'metric'",
		"stats_sinks[2].typed_config.tcp_cluster_name: unknown TCP cluster 'statsd'",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if n := strings.Count(err.Error(), "stats_sinks["); n != 2 {
		t.Errorf("%d findings: %v", n, err)
	}
}

func TestStatsFlushIsOneOfTwo(t *testing.T) {
	_, _, err := bootstrapWith(t, &bootstrapv3.Bootstrap{
		StatsFlushInterval: durationpb.New(time.Second), StatsFlush: &bootstrapv3.Bootstrap_StatsFlushOnAdmin{StatsFlushOnAdmin: true},
	})
	if err == nil || !strings.Contains(err.Error(), "Only one of stats_flush_interval or stats_flush_on_admin should be set!") {
		t.Errorf("got %v", err)
	}
}
