package runtime

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// bed is a runtime with what it tells.
type bed struct {
	*Runtime
	store   *stats.Store
	changed chan []string
}

func start(t *testing.T, opt Options) *bed {
	t.Helper()
	b := &bed{store: stats.NewStore(), changed: make(chan []string, 100)}
	opt.Stats, opt.Log = b.store.Root(), slog.New(slog.DiscardHandler)
	r, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	b.Runtime = r
	r.Notify(func(keys []string) { b.changed <- keys })
	return b
}

func (b *bed) counter(name string) uint64 { return b.store.Root().Counter(name).Value() }
func (b *bed) gauge(name string) uint64   { return b.store.Root().Gauge(name).Value() }

// texts are the final values.
func (b *bed) texts() map[string]string {
	out := map[string]string{}
	for key, v := range b.Readers().All() {
		out[key] = v.Text
	}
	return out
}

func (b *bed) expect(t *testing.T, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, b.texts()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func static(name string, values ...string) Layer {
	l := Layer{Name: name, Values: map[string]model.RuntimeValue{}}
	for i := 0; i < len(values); i += 2 {
		l.Values[values[i]] = Parse(values[i+1])
	}
	return l
}

func TestLaterLayersWin(t *testing.T) {
	b := start(t, Options{Layers: []Layer{static("base", "a", "1", "b", "x"), static("over", "a", "2")}})
	b.expect(t, map[string]string{"a": "2", "b": "x"})
	if b.gauge("runtime.num_layers") != 2 || b.gauge("runtime.num_keys") != 2 || b.counter("runtime.load_success") != 1 {
		t.Error("statistics do not tell of two layers with two keys")
	}
}

func TestModify(t *testing.T) {
	b := start(t, Options{Layers: []Layer{static("base", "a", "1"), {Name: "admin", Admin: true}}})
	for _, step := range []struct {
		key, value string
		want       map[string]string
		overrides  uint64
	}{
		{"a", "5", map[string]string{"a": "5"}, 1},
		{"b", "{numerator: 1}", map[string]string{"a": "5", "b": "{numerator: 1}"}, 1},
		{"a", "", map[string]string{"a": "1", "b": "{numerator: 1}"}, 1},
		{"b", "", map[string]string{"a": "1"}, 0},
	} {
		if err := b.Modify(map[string]string{step.key: step.value}); err != nil {
			t.Fatal(err)
		}
		b.expect(t, step.want)
		if got := b.gauge("runtime.admin_overrides_active"); got != step.overrides {
			t.Errorf("admin_overrides_active is %d, want %d", got, step.overrides)
		}
		if len(b.changed) == 0 {
			t.Fatal("nobody was told")
		}
		<-b.changed
		if step.want["a"] == "1" && step.overrides == 0 {
			break
		}
	}
	if err := start(t, Options{}).Modify(map[string]string{"a": "1"}); !errors.Is(err, ErrNoAdminLayer) {
		t.Errorf("got %v without an admin layer", err)
	}
}

// tree writes files below dir.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".new", at); err != nil {
		t.Fatal(err)
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "current")
	tree(t, dir, map[string]string{
		"v1/envoy/health_check/min_interval": "10 \n\n", "v1/envoy/flag": "# why\ntrue\n", "v1/envoy/share": "numerator: 3\n# of\ndenominator: MILLION\n",
		"v1/envoy/..data/hidden": "1", "v1/override/web/flag": "false", "v1/other": "1", "v2/envoy/flag": "false",
	})
	link(t, filepath.Join(dir, "v1"), root)
	watch, err := filewatch.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watch.Close() })
	b := start(t, Options{
		ServiceCluster: "web", Watch: watch,
		Layers: []Layer{
			{Name: "root", Disk: &Disk{SymlinkRoot: root, Subdirectory: "envoy"}},
			{Name: "cluster", Disk: &Disk{SymlinkRoot: root, Subdirectory: "override", AppendServiceCluster: true}},
		},
	})
	b.expect(t, map[string]string{"health_check.min_interval": "10", "flag": "false", "share": "numerator: 3\ndenominator: MILLION"})
	if b.counter("runtime.override_dir_exists") != 1 || b.gauge("runtime.num_layers") != 2 {
		t.Error("the directory of the service cluster was not counted")
	}
	link(t, filepath.Join(dir, "v2"), root)
	select {
	case <-b.changed:
	case <-time.After(10 * time.Second):
		t.Fatal("the swap of the link was not seen")
	}
	b.expect(t, map[string]string{"flag": "false"})
	if b.counter("runtime.override_dir_not_exists") != 1 || b.gauge("runtime.num_layers") != 1 || len(b.Layers()) != 1 {
		t.Error("a layer without directory was counted")
	}
}

func TestDiskErrors(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, root string){
		"too deep":  func(t *testing.T, root string) { tree(t, root, map[string]string{strings.Repeat("d/", 20) + "x": "1"}) },
		"too large": func(t *testing.T, root string) { tree(t, root, map[string]string{"x": strings.Repeat("x", maxFile+1)}) },
		"dangling": func(t *testing.T, root string) {
			tree(t, root, map[string]string{"y": "1"})
			link(t, "nowhere", filepath.Join(root, "x"))
		},
		"circle": func(t *testing.T, root string) {
			tree(t, root, map[string]string{"y": "1"})
			link(t, ".", filepath.Join(root, "x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			prepare(t, root)
			b := start(t, Options{Layers: []Layer{static("base", "a", "1"), {Name: "disk", Disk: &Disk{SymlinkRoot: root}}}})
			b.expect(t, map[string]string{"a": "1"})
			if b.counter("runtime.load_error") != 1 || b.counter("runtime.load_success") != 0 {
				t.Error("the error was not counted")
			}
		})
	}
}

// asked is a Sources that notes what is asked for.
type asked []string

func (a *asked) Subscribe(_ *model.Source, typeURL, name string) { *a = append(*a, typeURL+" "+name) }

func resource(t *testing.T, name, layer string) xds.Resource {
	t.Helper()
	body, err := anypb.New(&runtimev3.Runtime{Name: name, Layer: layerOf(t, layer)})
	if err != nil {
		t.Fatal(err)
	}
	return xds.Resource{Body: body, Version: "1"}
}

func rtdsLayers() []Layer {
	return []Layer{
		static("base", "a", "1"),
		{Name: "first", RTDS: &RTDS{Resource: "one", Source: &model.Source{InitialFetchTimeout: 15 * time.Second}}},
		{Name: "second", RTDS: &RTDS{Resource: "two", Source: &model.Source{InitialFetchTimeout: 15 * time.Second}}},
	}
}

func TestRTDS(t *testing.T) {
	b := start(t, Options{Layers: rtdsLayers()})
	var got asked
	b.Subscribe(&got)
	if diff := cmp.Diff(asked{xds.RuntimeType + " one", xds.RuntimeType + " two"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	h := b.Handler(nil)
	update := func(want string, u xds.Update) {
		t.Helper()
		u.Type, u.Version = xds.RuntimeType, "42"
		if err := h.Update(t.Context(), u); errorText(err) != want {
			t.Errorf("error %q, want %q", errorText(err), want)
		}
	}
	asked := xds.Asked{Type: xds.RuntimeType, Names: []string{"one"}}
	update("", xds.Update{Resources: []xds.Resource{resource(t, "one", `{"a": 2, "b": {"c": 3}}`), resource(t, "stranger", `{"a": 9}`)}})
	b.expect(t, map[string]string{"a": "2", "b.c": "3"})
	if diff := cmp.Diff([]string{"two"}, b.Waiting()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	update("two: runtime value of a: must be a number, a truth value, a text or a struct", xds.Update{Resources: []xds.Resource{resource(t, "two", `{"a": null}`)}})
	b.expect(t, map[string]string{"a": "2", "b.c": "3"})
	if err := b.Await(t.Context()); err != nil {
		t.Error(err)
	}
	update("", xds.Update{Resources: []xds.Resource{resource(t, "two", `{"a": 4}`)}})
	b.expect(t, map[string]string{"a": "4", "b.c": "3"})
	update("", xds.Update{Full: true})
	b.expect(t, map[string]string{"a": "4", "b.c": "3"})
	update("", xds.Update{Removed: []string{"one", "stranger"}})
	b.expect(t, map[string]string{"a": "4"})
	h.Failure(asked, errors.New("gone"))
	h.Failure(asked, xds.ErrUnreadable)
	// Envoy's hash of the version "42".
	if v := b.store.Root().Gauge("runtime.version").Value(); v != 7919287270473417401 {
		t.Errorf("version = %d", v)
	}
	// Two subscriptions, five responses and two failures on a stream.
	for name, want := range map[string]uint64{"update_attempt": 9, "update_success": 4, "update_rejected": 2, "update_failure": 1, "init_fetch_timeout": 0} {
		if got := b.counter("runtime." + name); got != want {
			t.Errorf("runtime.%s is %d, want %d", name, got, want)
		}
	}
}

// TestAttemptsOfPolls has layers of a file, whose readings are the attempts.
func TestAttemptsOfPolls(t *testing.T) {
	layers := rtdsLayers()
	source := &model.Source{Kind: model.SourcePath, Path: "/layers.yaml"}
	for i := range layers {
		if layers[i].RTDS != nil {
			layers[i].RTDS.Source = source
		}
	}
	b := start(t, Options{Layers: layers})
	b.Subscribe(new(asked))
	h := b.Handler(nil)
	reading := xds.Asked{Type: xds.RuntimeType, Source: source.ID(), Names: []string{"one", "two"}}
	h.Attempt(reading)
	if err := h.Update(t.Context(), xds.Update{Type: xds.RuntimeType, Source: source.ID(), Full: true, Resources: []xds.Resource{resource(t, "one", `{"a": 2}`)}}); err != nil {
		t.Fatal(err)
	}
	h.Attempt(reading)
	h.Failure(reading, errors.New("gone"))
	for name, want := range map[string]uint64{"update_attempt": 4, "update_success": 1, "update_failure": 2} {
		if got := b.counter("runtime." + name); got != want {
			t.Errorf("runtime.%s is %d, want %d", name, got, want)
		}
	}
}

func TestFetchTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Options{Layers: rtdsLayers()})
		b.Subscribe(new(asked))
		begin := time.Now()
		if err := b.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 15*time.Second {
			t.Errorf("waited %v", d)
		}
		if got := b.counter("runtime.update_attempt"); got != 4 {
			t.Errorf("%d attempts, want two beginnings and two ends of patience", got)
		}
		if got := b.counter("runtime.init_fetch_timeout"); got != 2 {
			t.Errorf("init_fetch_timeout is %d", got)
		}
		if err := b.Handler(nil).Update(t.Context(), xds.Update{Type: xds.RuntimeType, Resources: []xds.Resource{resource(t, "one", `{"late": 1}`)}}); err != nil {
			t.Error(err)
		}
		b.expect(t, map[string]string{"a": "1", "late": "1"})
	})
}

func TestAwaitEnds(t *testing.T) {
	layers := rtdsLayers()
	layers[1].RTDS.Source.InitialFetchTimeout = 0
	b := start(t, Options{Layers: layers})
	b.Subscribe(new(asked))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Await(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
