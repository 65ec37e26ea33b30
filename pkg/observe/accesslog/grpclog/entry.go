package grpclog

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// httpEntry is the entry of a request.
func (c *config) httpEntry(x *format.Context) proto.Message {
	e := &accesslogv3.HTTPAccessLogEntry{CommonProperties: common(x), Request: &accesslogv3.HTTPRequestProperties{}, Response: &accesslogv3.HTTPResponseProperties{}}
	i := x.Info
	switch i.Protocol {
	case "HTTP/1.0":
		e.ProtocolVersion = accesslogv3.HTTPAccessLogEntry_HTTP10
	case "HTTP/1.1":
		e.ProtocolVersion = accesslogv3.HTTPAccessLogEntry_HTTP11
	case "HTTP/2":
		e.ProtocolVersion = accesslogv3.HTTPAccessLogEntry_HTTP2
	case "HTTP/3":
		e.ProtocolVersion = accesslogv3.HTTPAccessLogEntry_HTTP3
	}
	c.requestOf(e.Request, x)
	c.responseOf(e.Response, x)
	return e
}

func (c *config) requestOf(out *accesslogv3.HTTPRequestProperties, x *format.Context) {
	i := x.Info
	out.RequestHeadersBytes, out.RequestBodyBytes = i.RequestHeaderBytes, i.BytesReceived
	out.DownstreamHeaderBytesReceived, out.UpstreamHeaderBytesSent = i.RequestHeaderBytes, i.Upstream.HeaderSent
	r := x.Request
	if r == nil {
		return
	}
	out.RequestMethod = corev3.RequestMethod(corev3.RequestMethod_value[r.Method]) // unknown ones are METHOD_UNSPECIFIED
	out.Scheme, out.Authority, out.Path = text(r.Scheme), text(r.Authority), text(r.Path)
	for name, at := range map[string]*string{
		"user-agent": &out.UserAgent, "referer": &out.Referer, "x-forwarded-for": &out.ForwardedFor,
		"x-request-id": &out.RequestId, "x-envoy-original-path": &out.OriginalPath,
	} {
		v, _ := r.Headers.Joined(name)
		*at = text(v)
	}
	out.RequestHeaders = chosen(&r.Headers, c.request)
}

func (c *config) responseOf(out *accesslogv3.HTTPResponseProperties, x *format.Context) {
	i := x.Info
	if i.ResponseCode != 0 {
		out.ResponseCode = wrapperspb.UInt32(uint32(i.ResponseCode))
	}
	out.ResponseHeadersBytes, out.ResponseBodyBytes, out.ResponseCodeDetails = i.ResponseHeaderBytes, i.BytesSent, text(i.Details)
	out.DownstreamHeaderBytesSent, out.UpstreamHeaderBytesReceived = i.ResponseHeaderBytes, i.Upstream.HeaderReceived
	if x.Response != nil {
		out.ResponseHeaders = chosen(&x.Response.Headers, c.response)
	}
	if x.Trailers != nil {
		out.ResponseTrailers = chosen(x.Trailers, c.trailers)
	}
}

func chosen(h *message.Headers, names []string) map[string]string {
	var out map[string]string
	for _, n := range names {
		v, ok := h.Joined(n)
		if !ok {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[n] = text(v)
	}
	return out
}

// tcpEntry is the entry of a connection.
func tcpEntry(x *format.Context) proto.Message {
	return &accesslogv3.TCPAccessLogEntry{
		CommonProperties:     common(x),
		ConnectionProperties: &accesslogv3.ConnectionProperties{ReceivedBytes: x.Info.BytesReceived, SentBytes: x.Info.BytesSent},
	}
}

// common is what entries of both kinds hold.
func common(x *format.Context) *accesslogv3.AccessLogCommon {
	i, u, t := x.Info, &x.Info.Upstream, &x.Info.Timing
	out := &accesslogv3.AccessLogCommon{
		StartTime: timestamppb.New(i.Start), Duration: durationpb.New(i.Duration), AccessLogType: accesslogv3.AccessLogType(x.Type),
		TimeToLastRxByte:          since(t.LastDownstreamRx),
		TimeToFirstUpstreamTxByte: since(t.FirstUpstreamTx), TimeToLastUpstreamTxByte: since(t.LastUpstreamTx),
		TimeToFirstUpstreamRxByte: since(t.FirstUpstreamRx), TimeToLastUpstreamRxByte: since(t.LastUpstreamRx),
		TimeToFirstDownstreamTxByte: since(t.FirstDownstreamTx), TimeToLastDownstreamTxByte: since(t.LastDownstreamTx),
		UpstreamRemoteAddress: address(u.Host), UpstreamLocalAddress: address(u.Local), UpstreamCluster: u.Cluster,
		UpstreamTransportFailureReason: text(u.TransportFailure), UpstreamRequestAttemptCount: u.AttemptCount,
		UpstreamWireBytesSent: u.WireSent, UpstreamWireBytesReceived: u.WireReceived,
		RouteName: i.RouteName, ResponseFlags: flags(i.Flags), SampleRate: 1, Metadata: dynamicMetadata(i.Dynamic),
	}
	if x.Request != nil {
		id, _ := x.Request.Headers.Lookup("x-request-id")
		out.StreamId = text(id)
	}
	if u.Pipe != "" {
		out.UpstreamRemoteAddress = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: u.Pipe}}}
	}
	if d := i.Conn; d != nil {
		out.DownstreamDirectRemoteAddress, out.DownstreamRemoteAddress = address(d.DirectRemote), address(d.Remote)
		out.DownstreamLocalAddress = address(d.Local)
		out.DownstreamTransportFailureReason, out.ConnectionTerminationDetails = text(d.TransportFailure), text(d.TerminationDetails)
		out.DownstreamWireBytesReceived, out.DownstreamWireBytesSent = d.RxBytes.Load(), d.TxBytes.Load()
		out.TlsProperties = tlsProperties(d)
	}
	if i.Client.IsValid() {
		out.DownstreamRemoteAddress = address(i.Client)
	}
	return out
}

func since(ns int64) *durationpb.Duration {
	if ns == 0 {
		return nil
	}
	return durationpb.New(time.Duration(ns))
}

func address(a netip.AddrPort) *corev3.Address {
	if !a.IsValid() {
		return nil
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().Unmap().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

// flags translates by number: Envoy's message has its fields, from 1, in the order of streaminfo's bits.
func flags(f streaminfo.Flags) *accesslogv3.ResponseFlags {
	if f == 0 {
		return nil
	}
	out := &accesslogv3.ResponseFlags{}
	r := out.ProtoReflect()
	for n := range protoreflect.FieldNumber(32) {
		if f&(1<<n) == 0 || 1<<n == streaminfo.DropOverload || 1<<n == streaminfo.DownstreamRemoteReset { // these two came later
			continue
		}
		switch fd := r.Descriptor().Fields().ByNumber(n + 1); {
		case fd == nil:
		case fd.Kind() == protoreflect.BoolKind:
			r.Set(fd, protoreflect.ValueOfBool(true))
		default:
			out.UnauthorizedDetails = &accesslogv3.ResponseFlags_Unauthorized{Reason: accesslogv3.ResponseFlags_Unauthorized_EXTERNAL_SERVICE}
		}
	}
	return out
}

// text makes bytes from the wire what a protobuf string may hold. It copies them: strings of a message lie in the connection's buffer,
// which holds something else by the time an entry is sent.
func text(s string) string { return strings.Clone(strings.ToValidUTF8(s, "!")) }
