package controlplane

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// serveOn starts s on a port of its own.
func serveOn(t *testing.T, s *Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, addr string, more ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// deltaClient speaks the incremental protocol by hand.
type deltaClient struct {
	t        *testing.T
	stream   grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	node     *corev3.Node
	silences int
}

func newDeltaClient(t *testing.T, addr string, node *corev3.Node) *deltaClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(dial(t, addr)).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &deltaClient{t: t, stream: stream, node: node}
}

func (c *deltaClient) send(r *discoveryv3.DeltaDiscoveryRequest) {
	c.t.Helper()
	r.Node, c.node = c.node, nil
	if err := c.stream.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

func (c *deltaClient) subscribe(url string, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, ResourceNamesSubscribe: names})
}

// receive takes an answer and acknowledges it.
func (c *deltaClient) receive() *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
	return r
}

// told is an answer in a form that is easy to compare: names, with = and their aliases, ? where there is no content,
// and - before those that are gone.
func told(r *discoveryv3.DeltaDiscoveryResponse) (out []string) {
	for _, x := range r.GetResources() {
		text := x.GetName()
		for _, a := range x.GetAliases() {
			text += "=" + a
		}
		if x.GetResource() == nil {
			text += "?"
		}
		out = append(out, text)
	}
	for _, name := range r.GetRemovedResources() {
		out = append(out, "-"+name)
	}
	return out
}

// silent checks that nothing more comes on the stream: what is subscribed to next is what comes next.
func (c *deltaClient) silent(url string) {
	c.t.Helper()
	c.silences++
	name := fmt.Sprintf("there is nothing of this name: %d", c.silences)
	c.subscribe(url, name)
	if got := told(c.receive()); len(got) != 1 || !strings.Contains(got[0], name) {
		c.t.Errorf("an answer that was not due: %s", got)
	}
}
