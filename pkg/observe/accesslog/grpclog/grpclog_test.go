package grpclog

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	grpcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// service is an access log service that hands on what it is sent.
type service struct {
	servicev3.UnimplementedAccessLogServiceServer
	messages chan *servicev3.StreamAccessLogsMessage
}

func (s *service) StreamAccessLogs(stream servicev3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&servicev3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		s.messages <- m
	}
}

// rig is a manager whose only cluster is a service.
type rig struct {
	*service
	*accesslog.Manager
	stats *stats.Store
}

func newRig(t *testing.T) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{service: &service{messages: make(chan *servicev3.StreamAccessLogsMessage, 100)}, stats: stats.NewStore()}
	server := grpc.NewServer()
	servicev3.RegisterAccessLogServiceServer(server, r.service)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) }) // ends with Stop
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	r.Manager = accesslog.NewManager(accesslog.Options{
		Stats: r.stats.Root(), Node: func() *corev3.Node { return &corev3.Node{Id: "here"} },
		Dial: func(s model.GRPCService) (grpc.ClientConnInterface, error) {
			if s.Cluster != "logs" {
				return nil, errors.New("no such cluster")
			}
			return conn, nil
		},
	})
	t.Cleanup(func() {
		if err := errors.Join(r.CloseShared(), r.Close(), conn.Close()); err != nil {
			t.Error(err)
		}
		server.Stop()
		wg.Wait()
	})
	return r
}

func (r *rig) logger(t *testing.T, c *config) accesslog.Logger {
	t.Helper()
	l, err := c.NewLogger(r.Manager)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (r *rig) next(t *testing.T) *servicev3.StreamAccessLogsMessage {
	t.Helper()
	select {
	case m := <-r.messages:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was sent")
		return nil
	}
}

func commonConfig(cluster string) *grpcv3.CommonGrpcAccessLogConfig {
	return &grpcv3.CommonGrpcAccessLogConfig{
		LogName: "log", TransportApiVersion: corev3.ApiVersion_V3, BufferFlushInterval: durationpb.New(10 * time.Millisecond),
		GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}}},
	}
}

func exchange() *format.Context {
	x := &format.Context{
		Type: format.DownstreamEnd,
		Info: &streaminfo.Info{
			Conn:  &streaminfo.Connection{Remote: netip.MustParseAddrPort("10.0.0.1:5"), DirectRemote: netip.MustParseAddrPort("10.0.0.2:6"), Local: netip.MustParseAddrPort("10.0.0.3:7")},
			Start: time.Unix(100, 0), Duration: time.Second, Protocol: "HTTP/1.1", ResponseCode: 503, Details: "via\xff", Flags: streaminfo.UpstreamConnectionFailure | streaminfo.UnauthorizedExternalService,
			BytesReceived: 3, BytesSent: 4, Upstream: streaminfo.Upstream{Cluster: "c", Pipe: "/run/x"},
		},
		Request: &message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/p"}, Response: &message.Response{Status: 503},
	}
	x.Info.Timing.LastDownstreamRx = 5
	x.Request.Headers.Add("User-Agent", "test")
	x.Request.Headers.Add("X-More", "1")
	x.Request.Headers.Add("X-More", "2")
	x.Response.Headers.Add("X-Back", "3")
	return x
}

func TestHTTPEntriesAreSent(t *testing.T) {
	r := newRig(t)
	c, err := decodeHTTP(&grpcv3.HttpGrpcAccessLogConfig{
		CommonConfig: commonConfig("logs"), AdditionalRequestHeadersToLog: []string{"X-More"}, AdditionalResponseHeadersToLog: []string{"x-back", "x-absent"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.logger(t, c).Log(exchange())
	got := r.next(t)
	want := &servicev3.StreamAccessLogsMessage{
		Identifier: &servicev3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{Id: "here"}, LogName: "log"},
		LogEntries: &servicev3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &servicev3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*accesslogv3.HTTPAccessLogEntry{{
			CommonProperties: &accesslogv3.AccessLogCommon{
				SampleRate: 1, DownstreamRemoteAddress: address(netip.MustParseAddrPort("10.0.0.1:5")), DownstreamDirectRemoteAddress: address(netip.MustParseAddrPort("10.0.0.2:6")),
				DownstreamLocalAddress: address(netip.MustParseAddrPort("10.0.0.3:7")), StartTime: got.GetHttpLogs().GetLogEntry()[0].GetCommonProperties().GetStartTime(),
				Duration: durationpb.New(time.Second), TimeToLastRxByte: durationpb.New(5), UpstreamCluster: "c", AccessLogType: accesslogv3.AccessLogType_DownstreamEnd,
				UpstreamRemoteAddress: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/x"}}},
				ResponseFlags:         &accesslogv3.ResponseFlags{UpstreamConnectionFailure: true, UnauthorizedDetails: &accesslogv3.ResponseFlags_Unauthorized{Reason: accesslogv3.ResponseFlags_Unauthorized_EXTERNAL_SERVICE}},
			},
			ProtocolVersion: accesslogv3.HTTPAccessLogEntry_HTTP11,
			Request: &accesslogv3.HTTPRequestProperties{
				RequestMethod: corev3.RequestMethod_GET, Scheme: "http", Authority: "a", Path: "/p", UserAgent: "test", RequestBodyBytes: 3, RequestHeaders: map[string]string{"x-more": "1,2"},
			},
			Response: &accesslogv3.HTTPResponseProperties{
				ResponseCode: wrapperspb.UInt32(503), ResponseBodyBytes: 4, ResponseCodeDetails: "via!", ResponseHeaders: map[string]string{"x-back": "3"},
			},
		}}}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestLoggersShareAStreamThatIsFlushedAtTheEnd(t *testing.T) {
	r := newRig(t)
	m := commonConfig("logs")
	m.BufferFlushInterval = durationpb.New(time.Hour)
	var loggers []accesslog.Logger
	for range 2 {
		c, err := decodeCommon(m, false)
		if err != nil {
			t.Fatal(err)
		}
		loggers = append(loggers, r.logger(t, c))
	}
	for _, l := range loggers {
		l.Log(exchange())
	}
	if err := r.CloseShared(); err != nil {
		t.Fatal(err)
	}
	got := r.next(t).GetTcpLogs().GetLogEntry()
	if len(got) != 2 || got[0].GetConnectionProperties().GetSentBytes() != 4 {
		t.Errorf("entries = %v", got)
	}
}

func TestEntriesThatCannotBeSentAreCounted(t *testing.T) {
	r := newRig(t)
	c, err := decodeCommon(commonConfig("gone"), false)
	if err != nil {
		t.Fatal(err)
	}
	l := r.logger(t, c)
	l.Log(exchange())
	dropped := r.stats.Root().Counter("access_logs.grpc_access_log.logs_dropped")
	for deadline := time.Now().Add(10 * time.Second); dropped.Value() == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("nothing was dropped")
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*grpcv3.CommonGrpcAccessLogConfig)
		want   string
	}{
		"version":  {func(m *grpcv3.CommonGrpcAccessLogConfig) { m.TransportApiVersion = 0 }, "transport_api_version"},
		"interval": {func(m *grpcv3.CommonGrpcAccessLogConfig) { m.BufferFlushInterval = durationpb.New(0) }, "buffer_flush_interval"},
		"service":  {func(m *grpcv3.CommonGrpcAccessLogConfig) { m.GrpcService = nil }, "grpc_service"},
	} {
		m := commonConfig("logs")
		tc.change(m)
		if _, err := decodeHTTP(&grpcv3.HttpGrpcAccessLogConfig{CommonConfig: m}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
