package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// patience bounds each wait of a test.
const patience = 10 * time.Second

const clusterA = `"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: a
type: EDS
eds_cluster_config: { eds_config: { resource_api_version: V3, ads: {} } }
`

const endpointsA = `"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
cluster_name: a
`

const listenerA = `"@type": type.googleapis.com/envoy.config.listener.v3.Listener
name: l
address: { socket_address: { address: 127.0.0.1, port_value: %d } }
`

const filterA = `"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
name: a
typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1 }
`

// client is weir's own xDS client, which keeps the names of what it has by type.
type client struct {
	sources *xds.Sources
	// reject is the reason to reject a resource with this name.
	reject map[string]string

	mu      sync.Mutex
	updates []xds.Update
	changed chan struct{}
}

func (c *client) Update(_ context.Context, u xds.Update) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updates = append(c.updates, u)
	close(c.changed)
	c.changed = make(chan struct{})
	for _, r := range u.Resources {
		if why := c.reject[nameIn(r.Body)]; why != "" {
			return errors.New(why)
		}
	}
	return nil
}

func (*client) Attempt(xds.Asked)        {}
func (*client) Failure(xds.Asked, error) {}
func (*client) Connected(bool, string)   {}

// await waits until done holds for all updates so far.
func (c *client) await(t *testing.T, what string, done func([]xds.Update) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		c.mu.Lock()
		ok, changed, n := done(c.updates), c.changed, len(c.updates)
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s did not come within %d updates: %v", what, n, c.updates)
		}
	}
}

// has tells whether an update of the type holds exactly these names.
func has(typeURL string, names ...string) func([]xds.Update) bool {
	return func(all []xds.Update) bool {
		return slices.ContainsFunc(all, func(u xds.Update) bool {
			var got []string
			for _, r := range u.Resources {
				got = append(got, nameIn(r.Body))
			}
			slices.Sort(got)
			return u.Type == typeURL && slices.Equal(got, names)
		})
	}
}

// harness is a server on a directory with one client.
type harness struct {
	server *Server
	dir    string
	addr   string
	events chan Event
	client *client
	logs   *logBuffer
}

type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
	grew chan struct{}
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.grew)
	b.grew = make(chan struct{})
	return b.text.Write(p)
}

func (b *logBuffer) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		all, grew := b.text.String(), b.grew
		b.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		select {
		case <-grew:
		case <-deadline:
			t.Fatalf("the log never said %q:\n%s", text, all)
		}
	}
}

func start(t *testing.T, kind model.APIType, files map[string]string) *harness {
	t.Helper()
	h := &harness{dir: t.TempDir(), events: make(chan Event, 1000), logs: &logBuffer{grew: make(chan struct{})}}
	for name, content := range files {
		write(t, filepath.Join(h.dir, name), content)
	}
	log := slog.New(slog.NewTextHandler(h.logs, nil))
	h.server = New(Options{Log: log, OnEvent: func(e Event) { h.events <- e }})
	if err := h.server.LoadDir(h.dir); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	h.client = connect(t, h.addr, kind, log)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.server.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := h.server.WatchDir(ctx, h.dir); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	return h
}

func connect(t *testing.T, addr string, kind model.APIType, log *slog.Logger) *client {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{changed: make(chan struct{}), reject: map[string]string{}}
	c.sources = xds.NewSources(xds.SourcesOptions{
		ADS:  &model.APISource{Type: kind, Services: []model.GRPCService{{Cluster: "xds", BackOffBase: 10 * time.Millisecond, BackOffMax: 50 * time.Millisecond}}},
		Dial: func(model.GRPCService) (grpc.ClientConnInterface, error) { return conn, nil },
		Node: func() *corev3.Node { return &corev3.Node{Id: "n1", Cluster: "c1"} }, Handler: c, Log: log,
	})
	c.sources.Start(t.Context())
	t.Cleanup(func() {
		c.sources.Close()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// write replaces a file in one step.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) event(t *testing.T, want EventKind) Event {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case e := <-h.events:
			if e.Kind == want {
				return e
			}
		case <-deadline:
			t.Fatalf("no event of kind %d came", want)
		}
	}
}

var ads = &model.Source{Kind: model.SourceADS}

var kinds = map[string]model.APIType{"state of the world": model.APIGRPC, "delta": model.APIDeltaGRPC}

func TestServesADirectoryAndItsChanges(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			h := start(t, kind, map[string]string{"cds.yaml": clusterA + "---\n" + endpointsA, "lds.yaml": fmt.Sprintf(listenerA, 1000), ".hidden.yaml": "]["})
			c := h.client
			c.sources.SubscribeAll(ads, xds.ClusterType)
			c.await(t, "cluster a", has(xds.ClusterType, "a"))
			c.sources.Subscribe(ads, xds.EndpointType, "a")
			c.await(t, "endpoints of a", has(xds.EndpointType, "a"))
			c.sources.SubscribeAll(ads, xds.ListenerType)
			c.await(t, "listener l", has(xds.ListenerType, "l"))
			if e := h.event(t, Connected); e.Node != "n1" || e.Peer == "" || e.Delta != kind.Delta() {
				t.Errorf("connected = %+v", e)
			}
			e := h.event(t, Acknowledged)
			if want := (Event{Kind: Acknowledged, Node: "n1", Peer: e.Peer, Delta: kind.Delta(), Type: "Cluster", Version: e.Version, Names: []string{"a"}}); e.Version == "" || !cmp.Equal(e, want) {
				t.Errorf("acknowledged = %+v", e)
			}

			write(t, filepath.Join(h.dir, "more.json"), `{"resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "b"}]}`)
			if kind.Delta() {
				c.await(t, "cluster b alone", has(xds.ClusterType, "b"))
			} else {
				c.await(t, "clusters a and b", has(xds.ClusterType, "a", "b"))
			}
			if err := os.Remove(filepath.Join(h.dir, "more.json")); err != nil {
				t.Fatal(err)
			}
			c.await(t, "removal of b", func(all []xds.Update) bool {
				last := all[len(all)-1]
				if kind.Delta() {
					return slices.Equal(last.Removed, []string{"b"})
				}
				return has(xds.ClusterType, "a")(all[len(all)-1:])
			})
		})
	}
}

func TestKeepsTheLastGoodSet(t *testing.T) {
	h := start(t, model.APIGRPC, map[string]string{"cds.yaml": clusterA + "---\n" + endpointsA})
	before := h.server.Summary()
	path := filepath.Join(h.dir, "bad.yaml")
	write(t, path, "resources:\n- \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: c\n  connect_timout: 1s\n")
	h.logs.await(t, "bad.yaml:4:")
	if diff := cmp.Diff(before, h.server.Summary()); diff != "" {
		t.Errorf("the set changed: %s", diff)
	}
	write(t, path, clusterA)
	h.logs.await(t, "there is another one of that name")
	write(t, path, strings.Replace(clusterA, "name: a", "name: b", 1))
	h.logs.await(t, "serving changed resources")
	h.logs.await(t, "ClusterLoadAssignment b")
}

func TestSetResourcesRefusesWhatItCannotServe(t *testing.T) {
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	err := s.SetResources(protos(&corev3.Node{}, nil, cluster(""), cluster("a"), cluster("a")))
	for _, want := range []string{"Node: only", "it is nil", "Cluster: it has no name", `Cluster "a": there is another`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if s.Summary() != nil {
		t.Error("something is served")
	}
}

func TestRejectionIsReported(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			h := start(t, kind, map[string]string{"cds.yaml": clusterA + "---\n" + endpointsA})
			h.client.mu.Lock()
			h.client.reject["a"] = "cluster a: no good\nat all"
			h.client.mu.Unlock()
			h.client.sources.SubscribeAll(ads, xds.ClusterType)
			if e := h.event(t, Rejected); e.Type != "Cluster" || e.Err != "cluster a: no good\nat all" {
				t.Errorf("event = %+v", e)
			}
		})
	}
}

func TestUnchangedTypesAndResourcesKeepTheirVersion(t *testing.T) {
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	if err := s.SetResources(protos(cluster("a"), cluster("b"), endpoints("a"))); err != nil {
		t.Fatal(err)
	}
	before := s.Summary()
	if err := s.SetResources(protos(endpoints("a"), cluster("b"), cluster("c"))); err != nil {
		t.Fatal(err)
	}
	after := s.Summary()
	if before[0].Version == after[0].Version {
		t.Error("the clusters changed and their version did not")
	}
	if diff := cmp.Diff(before[1], after[1]); diff != "" {
		t.Errorf("the endpoints did not change: %s", diff)
	}
}

func TestStagesMakeBeforeTheyBreak(t *testing.T) {
	set := func(m ...string) *set {
		var all []message
		for _, spec := range m {
			kind, name, _ := strings.Cut(spec, " ")
			all = append(all, map[string]func(string) message{"cluster": cluster, "listener": listener, "route": route}[kind](name))
		}
		s, err := newSet(all, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := set("cluster old", "listener l1", "route r1")
	next := set("cluster new", "listener l2", "route r2")
	var got []string
	makes, breaks := steps(old, next)
	for _, s := range append(makes, breaks...) {
		line := shortType(s.url)
		for _, i := range s.table.sorted() {
			line += " " + i.name
		}
		got = append(got, line)
	}
	want := []string{"Cluster new old", "Listener l2", "RouteConfiguration r1 r2", "Cluster new", "RouteConfiguration r2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
