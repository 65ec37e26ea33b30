package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weir-proxy/weir/test/harness"
)

// maxMessage is more than any message of these tests.
const maxMessage = 16 << 20

// testService is gRPC's own test service. A unary call whose payload is "hang" tells what deadline it got and waits until it
// is cancelled.
type testService struct {
	testpb.UnimplementedTestServiceServer
	deadlines chan time.Duration // 0 for none
	cancelled chan error
}

// UnaryCall answers with as many bytes as asked for, or with the status asked for.
func (s *testService) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if string(r.GetPayload().GetBody()) == "hang" {
		left := time.Duration(0)
		if d, ok := ctx.Deadline(); ok {
			left = time.Until(d)
		}
		s.deadlines <- left
		<-ctx.Done()
		s.cancelled <- ctx.Err()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if want := r.GetResponseStatus(); want.GetCode() != 0 {
		return nil, status.Error(codes.Code(want.GetCode()), want.GetMessage())
	}
	if err := grpc.SetTrailer(ctx, metadata.Pairs("x-size", fmt.Sprint(len(r.GetPayload().GetBody())))); err != nil {
		return nil, err
	}
	return &testpb.SimpleResponse{Payload: &testpb.Payload{Body: make([]byte, r.GetResponseSize())}}, nil
}

// StreamingOutputCall sends messages of the sizes asked for.
func (*testService) StreamingOutputCall(r *testpb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	for _, p := range r.GetResponseParameters() {
		if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
			return err
		}
	}
	return nil
}

// StreamingInputCall adds up what it gets.
func (*testService) StreamingInputCall(s grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	total := 0
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(total)})
		}
		if err != nil {
			return err
		}
		total += len(m.GetPayload().GetBody())
	}
}

// FullDuplexCall sends each message back at once, and the number of them in a trailer.
func (*testService) FullDuplexCall(s grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for n := 0; ; n++ {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			s.SetTrailer(metadata.Pairs("x-count", fmt.Sprint(n)))
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: m.GetPayload()}); err != nil {
			return err
		}
	}
}

// grpcWorld is gRPC's test service behind a weir.
type grpcWorld struct {
	host    *harness.Host
	weir    *harness.Weir
	service *testService
	conn    *grpc.ClientConn
	client  testpb.TestServiceClient
	ctx     context.Context
}

func startGRPC(t *testing.T, routes ...string) *grpcWorld {
	t.Helper()
	g := &grpcWorld{host: harness.NewHost(t), service: &testService{deadlines: make(chan time.Duration, 10), cancelled: make(chan error, 10)}}
	backend := g.serve(t)
	g.weir = g.host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(append(routes,
			`{match: {prefix: /grpc.testing.TestService/}, route: {cluster: backend, timeout: 0s}}`)...))}}.YAML()},
		Clusters: []string{
			harness.Cluster("backend", harness.To(backend), harness.HTTP2()), harness.Cluster("empty", nil, harness.HTTP2()),
			harness.Cluster("refusing", harness.To(g.host.RefusingAddr("127.0.0.1")), harness.HTTP2()),
		},
	}.YAML()})
	conn, err := grpc.NewClient("passthrough:///127.0.0.1:8080", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return g.host.Dial(ctx, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	g.conn, g.client = conn, testpb.NewTestServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	t.Cleanup(cancel)
	g.ctx = ctx
	return g
}

func (g *grpcWorld) serve(t *testing.T) netip.AddrPort {
	t.Helper()
	l := g.host.Listen("127.0.0.1:0")
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	testpb.RegisterTestServiceServer(server, g.service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// settled waits until nothing is under way on either side.
func (g *grpcWorld) settled() {
	for _, name := range []string{"cluster.backend.upstream_rq_active", "http.ingress.downstream_rq_active"} {
		g.weir.AwaitStat(name, func(n int) bool { return n == 0 })
	}
}

func payload(n int) *testpb.Payload { return &testpb.Payload{Body: bytes.Repeat([]byte("x"), n)} }

// All four kinds of calls, with small and with big messages.
func TestGRPCCalls(t *testing.T) {
	t.Parallel()
	g := startGRPC(t)
	for _, size := range []int{0, 100, 5 << 20} {
		t.Run(fmt.Sprint("unary ", size), func(t *testing.T) {
			var trailer metadata.MD
			got, err := g.client.UnaryCall(g.ctx, &testpb.SimpleRequest{Payload: payload(size), ResponseSize: int32(size)}, grpc.Trailer(&trailer))
			if err != nil || len(got.GetPayload().GetBody()) != size {
				t.Errorf("%d bytes, %v", len(got.GetPayload().GetBody()), err)
			}
			if n := trailer.Get("x-size"); len(n) != 1 || n[0] != fmt.Sprint(size) {
				t.Errorf("the server got %v bytes", n)
			}
		})
	}
	t.Run("server stream", func(t *testing.T) {
		sizes := []int32{1, 70_000, 0, 1 << 20, 5}
		r := &testpb.StreamingOutputCallRequest{}
		for _, n := range sizes {
			r.ResponseParameters = append(r.ResponseParameters, &testpb.ResponseParameters{Size: n})
		}
		s, err := g.client.StreamingOutputCall(g.ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range sizes {
			if m, err := s.Recv(); err != nil || len(m.GetPayload().GetBody()) != int(n) {
				t.Fatalf("%d bytes, %v; want %d", len(m.GetPayload().GetBody()), err, n)
			}
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	})
	t.Run("client stream", func(t *testing.T) {
		s, err := g.client.StreamingInputCall(g.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if err := s.Send(&testpb.StreamingInputCallRequest{Payload: payload(100_000)}); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := s.CloseAndRecv(); err != nil || m.GetAggregatedPayloadSize() != 5_000_000 {
			t.Errorf("%v, %v", m, err)
		}
	})
	g.settled()
	if n := g.weir.Stat("cluster.backend.upstream_cx_http2_total"); n != 1 {
		t.Errorf("%d connections upstream, want 1", n)
	}
}

// A hundred conversations at once, message by message, on one connection.
func TestGRPCConversations(t *testing.T) {
	t.Parallel()
	g := startGRPC(t)
	var all sync.WaitGroup
	for id := range 100 {
		all.Go(func() {
			if err := g.converse(id); err != nil {
				t.Errorf("stream %d: %v", id, err)
			}
		})
	}
	all.Wait()
	g.settled()
	if n := g.weir.Stat("http.ingress.downstream_cx_http2_total"); n != 1 {
		t.Errorf("%d connections downstream, want 1", n)
	}
}

// converse sends messages that differ in size, each after the answer to the one before.
func (g *grpcWorld) converse(id int) error {
	s, err := g.client.FullDuplexCall(g.ctx)
	if err != nil {
		return err
	}
	const messages = 20
	for n := range messages {
		body := bytes.Repeat([]byte{byte(id)}, id*n*7+1)
		if err := s.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: body}}); err != nil {
			return err
		}
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if !bytes.Equal(m.GetPayload().GetBody(), body) {
			return fmt.Errorf("message %d is another", n)
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("at the end: %w", err)
	}
	if got := s.Trailer().Get("x-count"); len(got) != 1 || got[0] != fmt.Sprint(messages) {
		return fmt.Errorf("trailers %v", s.Trailer())
	}
	return nil
}
