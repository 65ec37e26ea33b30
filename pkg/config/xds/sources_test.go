package xds

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/test/leak"
)

const twoClusters = `
version_info: "7"
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: a
  connect_timeout: 1s
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: b
`

func TestFileSourceDeliversContentAndChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cds.yaml")
	replace(t, path, twoClusters)
	h := newRecorder()
	s := startSources(t, SourcesOptions{Handler: h})
	src := &model.Source{Kind: model.SourcePath, Path: path}
	s.SubscribeAll(src, ClusterType)

	u := h.next(t)
	if u.Type != ClusterType || u.Version != "7" || !u.Full || len(u.Resources) != 2 {
		t.Fatalf("update = %+v", u)
	}
	replace(t, path, "resources: []\n")
	if u := h.next(t); len(u.Resources) != 0 || u.Version == "" || u.Version == "7" {
		t.Fatalf("update after emptying = %+v", u)
	}
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func startSources(t *testing.T, opt SourcesOptions) *Sources {
	t.Helper()
	w, err := filewatch.New()
	if err != nil {
		t.Fatal(err)
	}
	opt.Watch, opt.Log, opt.Node = w, testLog(t), testNode
	s := NewSources(opt)
	s.Start(t.Context())
	t.Cleanup(func() {
		s.Close()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestFileSourceKeepsWhatItHad(t *testing.T) {
	const listener = "\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\nname: l\naddress: { pipe: { path: /x } }\n"
	tests := []struct{ name, content, want string }{
		{"truncated", "", "is empty"},
		{"comments only", "# nothing\n", "is empty"},
		{"broken", "resources: [", "cds.yaml"},
		{"unknown type", "\"@type\": type.googleapis.com/nonsense\n", "nonsense"},
		{"another type", listener, "none of type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cds.yaml")
			replace(t, path, twoClusters)
			h := newRecorder()
			s := startSources(t, SourcesOptions{Handler: h})
			s.SubscribeAll(&model.Source{Kind: model.SourcePath, Path: path}, ClusterType)
			h.next(t)
			replace(t, path, tt.content)
			if err := receive(t, h.failure); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("failure = %v, want %q", err, tt.want)
			}
			replace(t, path, twoClusters+"\n")
			if u := h.next(t); len(u.Resources) != 2 {
				t.Errorf("update = %+v", u)
			}
		})
	}
}

func TestFileSourceWaitsForItsFileAndSharesIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later.yaml")
	h := newRecorder()
	s := startSources(t, SourcesOptions{Handler: h})
	src := func() *model.Source { return &model.Source{Kind: model.SourcePath, Path: path} }
	s.Subscribe(src(), ClusterType, "a")
	receive(t, h.failure)
	replace(t, path, twoClusters)
	h.next(t)
	s.Subscribe(src(), ClusterType, "b")
	if u := h.next(t); len(u.Resources) != 2 {
		t.Errorf("update = %+v", u)
	}
	s.mu.Lock()
	feeds := len(s.feeds)
	s.mu.Unlock()
	if feeds != 1 {
		t.Errorf("%d feeds", feeds)
	}
	s.Unsubscribe(src(), ClusterType, "a")
	s.Unsubscribe(src(), ClusterType, "b")
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.feeds) != 0 {
		t.Error("the file is still followed")
	}
}

func apiSource(cluster string) *model.APISource {
	return &model.APISource{
		Type: model.APIGRPC, RateLimit: &model.RequestRateLimit{MaxTokens: 100, FillRate: 10},
		Services: []model.GRPCService{{Cluster: cluster, InitialMetadata: []model.NameValue{{Name: "X-Token", Value: "t"}}}},
	}
}

func TestSourcesShareStreamsByContentAndType(t *testing.T) {
	f := newFake(t, "")
	conn, err := serverAt(t, f.addr).Dial()
	if err != nil {
		t.Fatal(err)
	}
	w, err := filewatch.New()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // nothing is watched
	h := newRecorder()
	s := NewSources(SourcesOptions{
		ADS: apiSource("ads"), Handler: h, Log: testLog(t), Node: testNode, Watch: w,
		Dial: func(model.GRPCService) (grpc.ClientConnInterface, error) { return conn, nil },
	})
	own := func() *model.Source { return &model.Source{Kind: model.SourceAPI, API: apiSource("own")} }
	// Before Start all is kept.
	s.Subscribe(own(), EndpointType, "a")
	s.Subscribe(own(), EndpointType, "b")
	s.SubscribeAll(&model.Source{Kind: model.SourceADS}, ClusterType)
	s.Subscribe(&model.Source{Kind: model.SourceSelf}, RouteType, "r")
	s.Start(t.Context())
	defer s.Close()

	seen := map[string][]string{}
	for range 2 {
		st := receive(t, f.streams)
		if !slices.Equal(st.md["x-token"], []string{"t"}) {
			t.Errorf("metadata = %v", st.md)
		}
		n := 1
		if st.method == aggregated.stream {
			n = 2
		}
		for range n {
			q := receive(t, st.sotw)
			seen[st.method] = append(seen[st.method], q.TypeUrl+" "+strings.Join(q.ResourceNames, " "))
		}
	}
	endpoints, _ := serviceOf(EndpointType)
	want := map[string][]string{
		aggregated.stream: {ClusterType + " ", RouteType + " r"},
		endpoints.stream:  {EndpointType + " a b"},
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
	// Another type of the same server has a stream of its own, which ends with its last subscription.
	s.Subscribe(own(), RouteType, "x")
	st := receive(t, f.streams)
	receive(t, st.sotw)
	s.Unsubscribe(own(), RouteType, "x")
	select {
	case <-st.stream.Context().Done():
	case <-time.After(patience):
		t.Error("the stream did not end")
	}
}

func TestSourcesThatCannotWorkAreReported(t *testing.T) {
	tests := []struct {
		name, typeURL, want string
		src                 *model.Source
	}{
		{"no ADS", ClusterType, "no ads_config", &model.Source{Kind: model.SourceADS}},
		{"REST without a cluster", ClusterType, "no cluster_names", &model.Source{Kind: model.SourceAPI, API: &model.APISource{Type: model.APIREST}}},
		{"type that REST lacks", VirtualHostType, "not served by REST", &model.Source{Kind: model.SourceAPI, API: &model.APISource{Type: model.APIREST, Clusters: []string{"c"}}}},
		{"type for delta only", VirtualHostType, "delta protocol only", &model.Source{Kind: model.SourceAPI, API: apiSource("c")}},
		{"no service", ClusterType, "no gRPC service", &model.Source{Kind: model.SourceAPI, API: &model.APISource{Type: model.APIGRPC}}},
		{"type without service", "type.googleapis.com/x.Y", "no discovery service", &model.Source{Kind: model.SourceAPI, API: apiSource("c")}},
		{"no API", ClusterType, "unknown kind", &model.Source{Kind: model.SourceAPI}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			s := NewSources(SourcesOptions{Handler: newRecorder(), Log: slog.New(slog.NewTextHandler(&log, nil))})
			s.Start(t.Context())
			defer s.Close()
			s.SubscribeAll(tt.src, tt.typeURL)
			s.Unsubscribe(tt.src, tt.typeURL, "x")
			if !strings.Contains(log.String(), tt.want) {
				t.Errorf("log %q lacks %q", log.String(), tt.want)
			}
		})
	}
}

func TestCloseWaitsForEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	func() {
		w, err := filewatch.New()
		if err != nil {
			t.Fatal(err)
		}
		s := NewSources(SourcesOptions{
			ADS: apiSource("ads"), Handler: newRecorder(), Log: testLog(t), Node: testNode, Watch: w,
			Dial: func(model.GRPCService) (grpc.ClientConnInterface, error) { return nil, errors.New("no cluster") },
		})
		s.SubscribeAll(&model.Source{Kind: model.SourceADS}, ClusterType)
		s.Start(t.Context())
		s.Subscribe(&model.Source{Kind: model.SourcePath, Path: "/nonexistent/dir/file"}, EndpointType, "a")
		s.Close()
		s.Close()
		s.Subscribe(&model.Source{Kind: model.SourcePath, Path: "/x"}, EndpointType, "b") // starts nothing any more
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	leak.Goroutines(t, before)
}

func TestLimit(t *testing.T) {
	l := NewLimit(2, 4)
	now := l.last
	for i, want := range []time.Duration{0, 0, 250 * time.Millisecond, 500 * time.Millisecond} {
		if got := max(0, l.take(now)); got != want {
			t.Errorf("request %d waits %v, want %v", i, got, want)
		}
	}
	if got := l.take(now.Add(time.Hour)); got > 0 {
		t.Errorf("after an hour: %v", got)
	}
	if !(*Limit)(nil).wait(t.Context(), 1) {
		t.Error("no limit does not let pass")
	}
}

func TestRateLimitCounts(t *testing.T) {
	store := stats.NewStore()
	l := NewLimit(1, 1000)
	l.count(store.Root())
	for range 3 {
		if !l.wait(t.Context(), 2) {
			t.Fatal("the test is over")
		}
	}
	if n := store.Root().Counter("control_plane.rate_limit_enforced").Value(); n < 1 || n > 2 {
		t.Errorf("rate_limit_enforced = %d", n)
	}
	if n := store.Root().Gauge("control_plane.pending_requests").Value(); n != 0 {
		t.Errorf("pending_requests = %d", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	slow := NewLimit(1, 0.001)
	slow.wait(ended, 1)
	if slow.wait(ended, 1) {
		t.Error("a request passes although it was to wait")
	}
}
