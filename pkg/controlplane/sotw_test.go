package controlplane

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// stateClient speaks the state of the world by hand.
type stateClient struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
	node   *corev3.Node
	last   map[string]*discoveryv3.DiscoveryResponse
}

func newStateClient(t *testing.T, addr, id string) *stateClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(dial(t, addr)).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &stateClient{t, stream, &corev3.Node{Id: id}, map[string]*discoveryv3.DiscoveryResponse{}}
}

// ask asks for names, and acknowledges what came last unless reject says why not.
func (c *stateClient) ask(url, reject string, names ...string) {
	c.t.Helper()
	r := &discoveryv3.DiscoveryRequest{Node: c.node, TypeUrl: url, ResourceNames: names}
	c.node = nil
	if last := c.last[url]; last != nil {
		r.VersionInfo, r.ResponseNonce = last.GetVersionInfo(), last.GetNonce()
	}
	if reject != "" {
		r.VersionInfo, r.ErrorDetail = "", &statuspb.Status{Message: reject}
	}
	if err := c.stream.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

func (c *stateClient) expect(url string, want ...string) {
	c.t.Helper()
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	var got []string
	for _, body := range r.GetResources() {
		got = append(got, nameIn(body))
	}
	if r.GetTypeUrl() != url || !slices.Equal(got, want) {
		c.t.Errorf("got %s %v, want %s %v", shortType(r.GetTypeUrl()), got, shortType(url), want)
	}
	c.last[url] = r
}

func TestStateOfTheWorld(t *testing.T) {
	const cds, eds = resource.ClusterType, resource.EndpointType
	s, addr := newTestServer(t, cluster("a"), cluster("b"), endpoints("a"), endpoints("b"))
	c := newStateClient(t, addr, "n")
	c.ask(cds, "")
	c.expect(cds, "a", "b")
	c.ask(cds, "")
	c.ask(eds, "", "a", "none")
	c.expect(eds, "a")
	c.ask(eds, "", "a", "none")
	// More names: only what is new is sent, for a type that need not be complete.
	c.ask(eds, "", "a", "b", "none")
	c.expect(eds, "b")
	c.ask(eds, "", "a", "b", "none")

	t.Log("a name comes later; nothing is sent for other types")
	replace(t, s, cluster("a"), cluster("b"), endpoints("a"), endpoints("b"), endpoints("none"))
	c.expect(eds, "none")
	c.ask(eds, "", "a", "b", "none")

	t.Log("clusters are always sent in full, also when one goes")
	replace(t, s, cluster("b"), endpoints("a"), endpoints("b"), endpoints("none"))
	c.expect(cds, "b")

	t.Log("what was rejected is not sent again, and what replaces it is, be it an older state")
	c.ask(cds, "no good")
	replace(t, s, cluster("a"), cluster("b"), endpoints("a"), endpoints("b"), endpoints("none"))
	c.expect(cds, "a", "b")
	c.ask(cds, "")

	t.Log("named clusters: what does not exist is told by its absence")
	d := newStateClient(t, addr, "by name")
	d.ask(cds, "", "a")
	d.expect(cds, "a")
	d.ask(cds, "", "a", "later")
	d.expect(cds, "a")
	d.ask(cds, "", "a", "later")
	replace(t, s, cluster("a"), cluster("later"), endpoints("a"), endpoints("b"), endpoints("none"))
	d.expect(cds, "a", "later")

	t.Log("one that returns with the version that is served is not sent all again")
	version := s.Summary()[0].Version
	e := newStateClient(t, addr, "back")
	e.last[cds] = &discoveryv3.DiscoveryResponse{VersionInfo: version}
	e.ask(cds, "")
	e.ask(eds, "", "a")
	e.expect(eds, "a")
	replace(t, s, cluster("new"), endpoints("a"))
	e.expect(cds, "a", "later", "new")
}

// A client that returns with the version that is served learns what goes afterwards, though this stream has sent it nothing.
func TestGoneAfterReturn(t *testing.T) {
	for _, kind := range []struct {
		url  string
		make func(string) proto.Message
	}{
		{resource.ClusterType, func(name string) proto.Message { return cluster(name) }},
		{resource.ListenerType, func(name string) proto.Message { return &listenerv3.Listener{Name: name} }},
	} {
		t.Run(shortType(kind.url), func(t *testing.T) {
			s, addr := newTestServer(t, kind.make("a"), kind.make("b"))
			c := newStateClient(t, addr, "back")
			c.last[kind.url] = &discoveryv3.DiscoveryResponse{VersionInfo: s.Summary()[0].Version}
			c.ask(kind.url, "")
			c.ask(resource.EndpointType, "", "none") // its answer, empty as it is, tells that the first was read
			c.expect(resource.EndpointType)
			c.ask(resource.EndpointType, "", "none")
			replace(t, s, kind.make("b"))
			c.expect(kind.url, "b")
		})
	}
}

// Types that nobody serves leave the stream alone.
func TestUnknownType(t *testing.T) {
	_, addr := newTestServer(t, cluster("a"))
	c := newStateClient(t, addr, "n")
	for i := range 30 {
		c.ask(fmt.Sprintf("type.googleapis.com/none.such%d", i), "", "x")
	}
	c.ask(resource.ClusterType, "")
	c.expect(resource.ClusterType, "a")
	d := newDeltaClient(t, addr, &corev3.Node{})
	d.subscribe("type.googleapis.com/none.such", "x")
	d.subscribe(resource.ClusterType, "a")
	if got := told(d.receive()); !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %s", got)
	}
}

func TestManyClients(t *testing.T) {
	const count = 200
	s, addr := newTestServer(t, cluster("a"))
	conn := dial(t, addr)
	var ready, done sync.WaitGroup
	ready.Add(count)
	for i := range count {
		done.Go(func() {
			met := sync.OnceFunc(ready.Done)
			defer met()
			if err := followOnce(t.Context(), conn, fmt.Sprint(i), met); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	ready.Wait()
	if got := len(s.Clients()); got != count {
		t.Errorf("%d clients", got)
	}
	replace(t, s, cluster("a"), cluster("b"))
	done.Wait()
}

// followOnce takes the clusters that there are, calls met, and expects cluster b as the next one.
func followOnce(ctx context.Context, conn grpc.ClientConnInterface, id string, met func()) error {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	r := &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: id}, TypeUrl: resource.ClusterType, ResourceNamesSubscribe: []string{"*"}}
	for _, want := range []string{"a", "b"} {
		if err := stream.Send(r); err != nil {
			return err
		}
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		if got := told(answer); !slices.Equal(got, []string{want}) {
			return fmt.Errorf("got %s, want %s", got, want)
		}
		r = &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResponseNonce: answer.GetNonce()}
		met()
	}
	return nil
}
