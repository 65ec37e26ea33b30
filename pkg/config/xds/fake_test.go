package xds

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// fake is a control plane whose answers the test writes: each stream that a client opens comes to the test.
type fake struct {
	addr    string
	streams chan *fakeStream
	server  *grpc.Server
}

// fakeStream is one stream, of either protocol.
type fakeStream struct {
	t      *testing.T
	method string
	md     metadata.MD
	sotw   chan *discoveryv3.DiscoveryRequest
	delta  chan *discoveryv3.DeltaDiscoveryRequest
	stream grpc.ServerStream
	// end ends the stream with an error.
	end  chan error
	once sync.Once
}

// newFake starts a fake at addr, a free port when empty. stop may be called before the test ends.
func newFake(t *testing.T, addr string) *fake {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: l.Addr().String(), streams: make(chan *fakeStream, 100)}
	f.server = grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error { return f.handle(t, s) }))
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.server.Serve(l) }) // ends with stop
	t.Cleanup(func() { f.server.Stop(); wg.Wait() })
	return f
}

func (f *fake) handle(t *testing.T, s grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(s)
	md, _ := metadata.FromIncomingContext(s.Context())
	fs := &fakeStream{
		t: t, method: method, md: md, stream: s, end: make(chan error, 1),
		sotw: make(chan *discoveryv3.DiscoveryRequest, 1000), delta: make(chan *discoveryv3.DeltaDiscoveryRequest, 1000),
	}
	f.streams <- fs
	received := make(chan struct{})
	go func() {
		defer close(received)
		fs.receive()
	}()
	select {
	case err := <-fs.end:
		return err // ends the receiver, too
	case <-received:
		return nil
	}
}

func (s *fakeStream) receive() {
	for {
		var err error
		if strings.Contains(s.method, "/Delta") {
			r := &discoveryv3.DeltaDiscoveryRequest{}
			if err = s.stream.RecvMsg(r); err == nil {
				s.delta <- r
			}
		} else {
			r := &discoveryv3.DiscoveryRequest{}
			if err = s.stream.RecvMsg(r); err == nil {
				s.sotw <- r
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *fakeStream) fail(err error) { s.once.Do(func() { s.end <- err }) }

// answer sends a state-of-the-world response with clusters of these names.
func (s *fakeStream) answer(typeURL, version, nonce string, names ...string) {
	s.t.Helper()
	r := &discoveryv3.DiscoveryResponse{TypeUrl: typeURL, VersionInfo: version, Nonce: nonce}
	for _, n := range names {
		r.Resources = append(r.Resources, body(s.t, n))
	}
	if err := s.stream.SendMsg(r); err != nil {
		s.t.Error(err)
	}
}

// change sends a delta response; resources are NAME=VERSION, or NAME- for a removal.
func (s *fakeStream) change(typeURL, nonce string, resources ...string) {
	s.t.Helper()
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, SystemVersionInfo: "sys", Nonce: nonce}
	for _, spec := range resources {
		if name, ok := strings.CutSuffix(spec, "-"); ok {
			r.RemovedResources = append(r.RemovedResources, name)
			continue
		}
		name, version, _ := strings.Cut(spec, "=")
		r.Resources = append(r.Resources, &discoveryv3.Resource{Name: name, Version: version, Resource: body(s.t, name)})
	}
	if err := s.stream.SendMsg(r); err != nil {
		s.t.Error(err)
	}
}

func body(t *testing.T, name string) *anypb.Any {
	t.Helper()
	a, err := anypb.New(&clusterv3.Cluster{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// rig is a running Mux and what it talks to.
type rig struct {
	fake *fake
	mux  *Mux
	rec  *recorder
}

// newRig runs a Mux on a fake; tune may change its options.
func newRig(t *testing.T, tune func(*Options)) *rig {
	t.Helper()
	r := &rig{fake: newFake(t, ""), rec: newRecorder()}
	opt := Options{Servers: []Server{serverAt(t, r.fake.addr)}, Node: testNode, Handler: r.rec, Log: testLog(t)}
	if tune != nil {
		tune(&opt)
	}
	r.mux = NewMux(opt)
	return r
}

// run runs the Mux until the test ends.
func (r *rig) run(t *testing.T) {
	t.Helper()
	ctx, done := t.Context(), make(chan struct{})
	go func() {
		defer close(done)
		r.mux.Run(ctx)
	}()
	t.Cleanup(func() { <-done })
}

func (r *rig) stream(t *testing.T) *fakeStream {
	t.Helper()
	return receive(t, r.fake.streams)
}

func serverAt(t *testing.T, addr string) Server {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return Server{Name: addr, Dial: func() (grpc.ClientConnInterface, error) { return conn, nil }, Backoff: Backoff{Base: 10 * time.Millisecond, Max: 50 * time.Millisecond}}
}

func namesOf(u Update) []string {
	var names []string
	for _, r := range u.Resources {
		c := &clusterv3.Cluster{}
		if r.Body.UnmarshalTo(c) == nil {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

// dialTo connects to a, whatever is asked for.
func dialTo(a net.Addr) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, a.Network(), a.String())
	}
}

func mustService(typeURL string) service {
	s, ok := serviceOf(typeURL)
	if !ok {
		panic("no service of " + typeURL)
	}
	return s
}
