package store

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	httprouter "github.com/weir-proxy/weir/pkg/proxy/filter/http/router"
)

// sources record what the store subscribes to.
type sources struct{ wanted map[string]bool }

func (s *sources) Subscribe(_ *model.Source, typeURL, name string) {
	s.wanted[short(typeURL)+" "+name] = true
}

func (s *sources) Unsubscribe(_ *model.Source, typeURL, name string) {
	delete(s.wanted, short(typeURL)+" "+name)
}

func (s *sources) SubscribeAll(_ *model.Source, typeURL string) { s.wanted[short(typeURL)+" *"] = true }

func (s *sources) UnsubscribeAll(_ *model.Source, typeURL string) {
	delete(s.wanted, short(typeURL)+" *")
}

func short(typeURL string) string { return typeURL[strings.LastIndex(typeURL, ".")+1:] }

// rig is a store with what it published.
type rig struct {
	*Store
	src       *sources
	stats     *stats.Store
	published chan *model.Snapshot
}

func newRig(t *testing.T, tune func(*Options)) *rig {
	t.Helper()
	registry, err := extension.NewRegistry(httprouter.Factories()...)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := translate.New(translate.Options{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{src: &sources{wanted: map[string]bool{}}, stats: stats.NewStore(), published: make(chan *model.Snapshot, 1000)}
	opt := Options{
		Translate: tr, Sources: r.src, Stats: r.stats.Root(), Log: slog.New(slog.DiscardHandler),
		Publish: func(s *model.Snapshot) { r.published <- s },
	}
	if tune != nil {
		tune(&opt)
	}
	r.Store = New(opt)
	r.Load(&translate.Static{}, &bootstrapv3.Bootstrap{})
	ads := &model.Source{Kind: model.SourceADS}
	r.Follow(ads, xds.ClusterType)
	r.Follow(ads, xds.ListenerType)
	return r
}

// resources decodes YAML documents.
func resources(t *testing.T, yaml string) []xds.Resource {
	t.Helper()
	list, _, err := protoyaml.DecodeResources([]byte(yaml), "test", protoyaml.Options{SkipValidation: true})
	if err != nil {
		t.Fatal(err)
	}
	var out []xds.Resource
	for _, r := range list {
		body, err := anypb.New(r.Message)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, xds.Resource{Version: "r1", Body: body})
	}
	return out
}

func (r *rig) full(t *testing.T, typeURL, version, yaml string) error {
	t.Helper()
	return r.Update(t.Context(), xds.Update{Type: typeURL, Version: version, Full: true, Resources: resources(t, yaml)})
}

func (r *rig) clusters() []string { return r.Snapshot().Clusters.Names() }

func (r *rig) counter(t *testing.T, name string, want uint64) {
	t.Helper()
	if got := r.stats.Root().Counter(name).Value(); got != want {
		t.Errorf("%s = %d, want %d", name, got, want)
	}
}

const (
	edsCluster = `
"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: eds
type: EDS
eds_cluster_config: { service_name: ends, eds_config: { resource_api_version: V3, ads: {} } }
---
`
	staticCluster = `
"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: plain
type: STATIC
connect_timeout: %TIME%
load_assignment: { cluster_name: plain }
---
`
	badCluster = `
"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: bad
connect_timeout: -1s
---
`
	endpoints = `
"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
cluster_name: ends
endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 1 } } } }] }]
---
`
)

func plain(timeout string) string { return strings.ReplaceAll(staticCluster, "%TIME%", timeout) }

func TestClusterWarmsUntilItsEndpointsCome(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ClusterType, "1", edsCluster+plain("1s")); err != nil {
		t.Fatal(err)
	}
	if got := r.clusters(); !slices.Equal(got, []string{"plain"}) {
		t.Errorf("clusters = %v", got)
	}
	if !r.src.wanted["ClusterLoadAssignment ends"] {
		t.Errorf("subscribed: %v", r.src.wanted)
	}
	if d := r.Dump(); !cmp.Equal(d.Waiting, []Wait{{Reference{xds.EndpointType, "ends"}, []Reference{{xds.ClusterType, "eds"}}}}) || d.ClusterVersion != "1" || d.Clusters[0].Warming == nil {
		t.Errorf("waiting = %v, version %s", d.Waiting, d.ClusterVersion)
	}
	if err := r.Update(t.Context(), xds.Update{Type: xds.EndpointType, Version: "1", Full: true, Resources: resources(t, endpoints)}); err != nil {
		t.Fatal(err)
	}
	if got := r.clusters(); !slices.Equal(got, []string{"eds", "plain"}) {
		t.Errorf("clusters = %v", got)
	}
	if r.Snapshot().Endpoints.Get("ends") == nil {
		t.Error("the endpoints are not in the snapshot")
	}
	// What nobody asked for is ignored; what is gone takes its endpoints along.
	if err := r.Update(t.Context(), xds.Update{Type: xds.EndpointType, Version: "2", Full: true, Resources: resources(t, strings.ReplaceAll(endpoints, "ends", "others"))}); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.ClusterType, "2", plain("1s")); err != nil {
		t.Fatal(err)
	}
	if r.Snapshot().Endpoints.Len() != 0 || r.src.wanted["ClusterLoadAssignment ends"] {
		t.Errorf("endpoints %v, subscribed %v", r.Snapshot().Endpoints, r.src.wanted)
	}
	r.counter(t, "cluster_manager.cluster_added", 2)
	r.counter(t, "cluster_manager.cluster_removed", 1)
	r.counter(t, "cluster_manager.cds.update_success", 2)
}

func TestRejectedResourceDoesNotHoldTheOthersUp(t *testing.T) {
	r := newRig(t, nil)
	err := r.full(t, xds.ClusterType, "1", badCluster+plain("1s"))
	if err == nil || !strings.Contains(err.Error(), "bad: ") || strings.Contains(err.Error(), "plain") {
		t.Errorf("error = %v", err)
	}
	if got := r.clusters(); !slices.Equal(got, []string{"plain"}) {
		t.Errorf("clusters = %v", got)
	}
	d := r.Dump()
	if d.ClusterVersion != "" || d.Clusters[0].Name != "bad" || d.Clusters[0].Failure == nil || d.Clusters[1].Failure != nil {
		t.Errorf("version %q, slots %+v", d.ClusterVersion, d.Clusters)
	}
	r.counter(t, "cluster_manager.cds.update_rejected", 1)
	// A bad change of a good one keeps the old form, and a good one clears the failure.
	if err := r.full(t, xds.ClusterType, "2", plain("-1s")); err == nil {
		t.Error("a negative time was accepted")
	}
	if got := r.clusters(); !slices.Equal(got, []string{"plain"}) {
		t.Errorf("clusters = %v", got)
	}
	if err := r.full(t, xds.ClusterType, "3", plain("2s")); err != nil {
		t.Fatal(err)
	}
	for _, slot := range r.Dump().Clusters {
		if slot.Name == "plain" && slot.Failure != nil {
			t.Errorf("plain still has a failure: %+v", slot.Failure)
		}
	}
}

func TestUnchangedContentPublishesNothing(t *testing.T) {
	r := newRig(t, nil)
	for _, v := range []string{"1", "2"} {
		if err := r.full(t, xds.ClusterType, v, plain("1s")); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Snapshot().Generation; got != 2 { // the first is that of Load
		t.Errorf("generation = %d", got)
	}
	if d := r.Dump(); d.ClusterVersion != "2" {
		t.Errorf("version = %s", d.ClusterVersion)
	}
	r.counter(t, "cluster_manager.cluster_modified", 0)
}

// What a dump shows is not written afterwards: admin reads it without the store's lock.
func TestDumpStaysAsItWas(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ClusterType, "1", plain("1s")); err != nil {
		t.Fatal(err)
	}
	before := r.Dump().Clusters[0].Active
	updated := before.Updated
	if err := r.full(t, xds.ClusterType, "2", plain("1s")); err != nil {
		t.Fatal(err)
	}
	if !before.Updated.Equal(updated) {
		t.Error("the next response changed what the dump shows")
	}
	if now := r.Dump().Clusters[0].Active; !now.Updated.After(updated) {
		t.Error("the next dump does not show the next response")
	}
}

func TestDeltaRemovesByNameOnly(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ClusterType, "1", plain("1s")+strings.ReplaceAll(plain("1s"), "plain", "other")); err != nil {
		t.Fatal(err)
	}
	if err := r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "2", Removed: []string{"plain", "unknown"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"other"}, r.clusters()); diff != "" {
		t.Error(diff)
	}
}

func TestFetchTimeoutLetsTheClusterGo(t *testing.T) {
	r := newRig(t, nil)
	soon := strings.ReplaceAll(edsCluster, "ads: {}", "ads: {}, initial_fetch_timeout: 0.001s")
	if err := r.full(t, xds.ClusterType, "1", soon); err != nil {
		t.Fatal(err)
	}
	if err := r.Await(t.Context(), func(p Progress) bool { return p.ClustersWarming == 0 }); err != nil {
		t.Fatal(err)
	}
	if got := r.clusters(); !slices.Equal(got, []string{"eds"}) {
		t.Errorf("clusters = %v", got)
	}
	r.counter(t, "cluster.eds.init_fetch_timeout", 1)
}

func TestUnknownTypeIsAnError(t *testing.T) {
	if err := newRig(t, nil).full(t, "type.googleapis.com/x.Y", "1", ""); err == nil {
		t.Error("no error")
	}
}

// replaceFile changes a file in one step.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsFollowTheirFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	replaceFile(t, path, "one")
	w, err := filewatch.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	var tr *translate.Translator
	r := newRig(t, func(o *Options) { o.Watch, tr = w, o.Translate })
	boot := &bootstrapv3.Bootstrap{}
	// Two secrets from one file: each follows it for itself.
	config := fmt.Sprintf(`
node: { id: node, cluster: c }
static_resources:
  secrets:
  - { name: a, generic_secret: { secret: { filename: %[1]q } } }
  - { name: b, generic_secret: { secret: { filename: %[1]q } } }
`, path)
	if _, err := protoyaml.Decode([]byte(config), "test", boot, protoyaml.Options{}); err != nil {
		t.Fatal(err)
	}
	static, _, err := tr.Bootstrap(boot, translate.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	r.Load(static, boot)
	awaitSecrets := func(want string, names ...string) {
		t.Helper()
		deadline := time.After(10 * time.Second)
		for {
			done := true
			for _, n := range names {
				got := r.Snapshot().Secrets.Get(n)
				done = done && got != nil && string(got.Generic) == want
			}
			if done {
				return
			}
			select {
			case <-r.published:
			case <-deadline:
				t.Fatalf("the secrets %v are not %q", names, want)
			}
		}
	}
	awaitSecrets("one", "a", "b")
	replaceFile(t, path, "two")
	awaitSecrets("two", "a", "b")
	r.mu.Lock()
	r.unwatchSecret("a")
	r.mu.Unlock()
	replaceFile(t, path, "three")
	awaitSecrets("three", "b")
	if got := string(r.Snapshot().Secrets.Get("a").Generic); got != "two" {
		t.Errorf("a secret that is not watched any more is %q", got)
	}
	// Files that cannot be used are counted where SDS delivers the secret.
	r.mu.Lock()
	r.unwatchSecret("b")
	r.deps.acquire(dependency{key: key{xds.SecretType, "b"}, source: &model.Source{}, prefix: "sds.b."})
	r.mu.Unlock()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.reloadSecret("a")
	r.reloadSecret("b")
	r.counter(t, "sds.b.key_rotation_failed", 1)
	if got := string(r.Snapshot().Secrets.Get("b").Generic); got != "three" {
		t.Errorf("a secret whose file is gone is %q", got)
	}
}

func TestStaticClusterKeepsItsName(t *testing.T) {
	registry, err := extension.NewRegistry(httprouter.Factories()...)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := translate.New(translate.Options{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, nil)
	boot := &bootstrapv3.Bootstrap{}
	config := "static_resources: { clusters: [{ name: plain, type: STATIC, connect_timeout: 7s, load_assignment: { cluster_name: plain } }] }"
	if _, err := protoyaml.Decode([]byte(config), "test", boot, protoyaml.Options{}); err != nil {
		t.Fatal(err)
	}
	static, _, err := tr.Bootstrap(boot, translate.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	r.Load(static, boot)
	if err := r.full(t, xds.ClusterType, "1", plain("1s")); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.ClusterType, "2", ""); err != nil {
		t.Fatal(err)
	}
	if c := r.Snapshot().Clusters.Get("plain"); c == nil || c.ConnectTimeout != 7*time.Second {
		t.Errorf("cluster = %+v", c)
	}
}
