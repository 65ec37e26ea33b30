package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weir-proxy/weir/test/harness"
)

// A server's status comes through as it is, also when there is nothing but trailers.
func TestGRPCStatus(t *testing.T) {
	t.Parallel()
	g := startGRPC(t)
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		message := fmt.Sprintf("it is %d: 100%%, größer & \"so\"\nand on", code)
		_, err := g.client.UnaryCall(g.ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: int32(code), Message: message}})
		if got := status.Convert(err); got.Code() != code || got.Message() != message {
			t.Errorf("%v: %v", code, err)
		}
	}
	if _, err := g.client.UnimplementedCall(g.ctx, &testpb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a method that there is not: %v", err)
	}
	g.settled()
	if n := g.weir.Stat("cluster.backend.upstream_rq_200"); n != 17 {
		t.Errorf("%d responses were counted as 200, want 17", n)
	}
}

// What weir answers itself is a gRPC status to a gRPC client, in a response of trailers only.
func TestGRPCLocalReplies(t *testing.T) {
	t.Parallel()
	g := startGRPC(
		t,
		`{match: {prefix: /missing/}, route: {cluster_header: x-cluster}}`,
		`{match: {prefix: /empty/}, route: {cluster: empty}}`,
		`{match: {prefix: /refusing/}, route: {cluster: refusing}}`,
		`{match: {prefix: /forbidden/}, direct_response: {status: 403, body: {inline_string: "not you"}}}`,
		`{match: {prefix: /login/}, direct_response: {status: 401}}`,
		`{match: {prefix: /limited/}, direct_response: {status: 429}}`,
		`{match: {prefix: /bad/}, direct_response: {status: 400}}`,
		`{match: {prefix: /odd/}, direct_response: {status: 418}}`,
	)
	for _, tc := range []struct {
		service, message string
		code             codes.Code
	}{
		{"nowhere", "", codes.Unimplemented},
		{"missing", "", codes.Unavailable},
		{"empty", "no healthy upstream", codes.Unavailable},
		{"refusing", "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, " +
			"transport failure reason: delayed connect error: Connection refused", codes.Unavailable},
		{"forbidden", "not you", codes.PermissionDenied},
		{"login", "", codes.Unauthenticated},
		{"limited", "", codes.Unavailable},
		{"bad", "", codes.Internal},
		{"odd", "", codes.Unknown},
	} {
		t.Run(tc.service, func(t *testing.T) {
			err := g.conn.Invoke(g.ctx, "/"+tc.service+"/Method", &testpb.Empty{}, &testpb.Empty{})
			if got := status.Convert(err); got.Code() != tc.code || got.Message() != tc.message {
				t.Errorf("%v: %q; want %v: %q", got.Code(), got.Message(), tc.code, tc.message)
			}
			raw := dial2(t, g.host, "127.0.0.1:8080")
			err = raw.headers(1, true, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/"+tc.service+"/Method",
				"content-type", "application/grpc", "te", "trailers")
			if err != nil {
				t.Fatal(err)
			}
			r := raw.mustReply(t, 1)
			if r.status() != "200" || r.head["content-type"] != "application/grpc" || r.head["grpc-status"] != fmt.Sprint(uint32(tc.code)) || r.trailers != nil || len(r.body) > 0 {
				t.Errorf("on the wire: %+v", r)
			}
		})
	}
}

// A deadline goes to the server, and is cut where the route says so.
func TestGRPCDeadline(t *testing.T) {
	t.Parallel()
	g := startGRPC(
		t,
		`{match: {prefix: /grpc.testing.TestService/, headers: [{name: x-route, string_match: {exact: cut}}]}, route: {cluster: backend, max_grpc_timeout: 3s}}`,
		`{match: {prefix: /grpc.testing.TestService/, headers: [{name: x-route, string_match: {exact: stream}}]}, `+
			`route: {cluster: backend, max_stream_duration: {grpc_timeout_header_max: 3s}}}`,
	)
	hang := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte("hang")}}
	for _, tc := range []struct {
		name, route          string
		deadline, sees, ends time.Duration // at most
		code                 codes.Code
		message              string
	}{
		{"as the client has it", "", 2 * time.Second, 2 * time.Second, 9 * time.Second, codes.DeadlineExceeded, ""},
		{"shorter than the route's", "cut", 2 * time.Second, 2 * time.Second, 9 * time.Second, codes.DeadlineExceeded, ""},
		{"cut by the route", "cut", 20 * time.Second, 3 * time.Second, 15 * time.Second, codes.Unavailable, "upstream request timeout"},
		{"cut by the stream's duration", "stream", 20 * time.Second, 20 * time.Second, 15 * time.Second, codes.DeadlineExceeded, "downstream duration timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(withHeader(g.ctx, "x-route", tc.route), tc.deadline)
			defer cancel()
			start := time.Now()
			_, err := g.client.UnaryCall(ctx, hang)
			took, sees := time.Since(start), <-g.service.deadlines
			<-g.service.cancelled
			if sees <= 0 || sees > tc.sees {
				t.Errorf("the server had %v, want at most %v", sees, tc.sees)
			}
			// Where client, weir and server know the same deadline, any of them may be the first to say so.
			early := tc.sees < 10*time.Second && (status.Code(err) == codes.DeadlineExceeded || status.Code(err) == codes.Unavailable)
			if got := status.Convert(err); !early && (got.Code() != tc.code || !strings.Contains(got.Message(), tc.message)) {
				t.Errorf("%v, want %v %q", err, tc.code, tc.message)
			}
			if took > tc.ends {
				t.Errorf("it took %v", took)
			}
		})
	}
	g.settled()
}

// A client that cancels cancels the server's work, and others on the connection go on.
func TestGRPCCancel(t *testing.T) {
	t.Parallel()
	g := startGRPC(t)
	other, err := g.client.FullDuplexCall(g.ctx)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(g.ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := g.client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte("hang")}})
		failed <- err
	}()
	if left := <-g.service.deadlines; left > 2*harness.Patience {
		t.Errorf("the server had %v", left)
	}
	cancel()
	if err := <-failed; status.Code(err) != codes.Canceled {
		t.Errorf("the client got %v", err)
	}
	select {
	case err := <-g.service.cancelled:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the server got %v", err)
		}
	case <-time.After(harness.Patience):
		t.Fatal("the server works on")
	}
	if err := other.Send(&testpb.StreamingOutputCallRequest{Payload: payload(10)}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Recv(); err != nil {
		t.Errorf("another stream of the connection: %v", err)
	}
	if err := other.CloseSend(); err != nil {
		t.Fatal(err)
	}
	g.weir.AwaitStat("http.ingress.downstream_rq_rx_reset", func(n int) bool { return n == 1 })
	g.weir.AwaitStat("cluster.backend.upstream_rq_tx_reset", func(n int) bool { return n >= 0 })
	g.settled()
}

// withHeader adds a request header, unless its value is empty.
func withHeader(ctx context.Context, name, value string) context.Context {
	if value == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, name, value)
}
