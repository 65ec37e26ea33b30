package controlplane

import (
	"context"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Both kinds of streams, by the messages that they carry.
type (
	sotwStream  = grpc.GenericServerStream[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
	deltaStream = grpc.GenericServerStream[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
)

// services are the gRPC services of all kinds, on the same handlers. The generated registrations would say the same once
// for each of them.
type services struct {
	sotw  sotw.Server
	delta delta.Server
	// poll answers once.
	poll func(context.Context, *discoveryv3.DiscoveryRequest) (*discoveryv3.DiscoveryResponse, error)
}

// register adds the aggregated service and the service of each kind.
func (s services) register(g *grpc.Server) {
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: "envoy.service.discovery.v3.AggregatedDiscoveryService",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{
			s.stateStream("StreamAggregatedResources", resource.AnyType),
			s.deltaStream("DeltaAggregatedResources", resource.AnyType),
		},
	}, s)
	for _, k := range allKinds {
		d := &grpc.ServiceDesc{ServiceName: k.service, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{s.deltaStream("Delta"+k.method, k.url)}}
		if !k.deltaOnly {
			d.Streams = append(d.Streams, s.stateStream("Stream"+k.method, k.url))
			d.Methods = []grpc.MethodDesc{s.fetch(k)}
		}
		g.RegisterService(d, s)
	}
}

func (s services) stateStream(name, url string) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: name, ServerStreams: true, ClientStreams: true, Handler: func(_ any, x grpc.ServerStream) error {
		return s.sotw.StreamHandler(&sotwStream{ServerStream: x}, url)
	}}
}

func (s services) deltaStream(name, url string) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: name, ServerStreams: true, ClientStreams: true, Handler: func(_ any, x grpc.ServerStream) error {
		return s.delta.DeltaStreamHandler(&deltaStream{ServerStream: x}, url)
	}}
}

// fetch is the method that answers once.
func (s services) fetch(k *kind) grpc.MethodDesc {
	name := "Fetch" + k.method
	handle := func(ctx context.Context, r any) (any, error) {
		request, ok := r.(*discoveryv3.DiscoveryRequest)
		if !ok {
			return nil, status.Errorf(codes.Internal, "fetch: the request is a %T", r)
		}
		request.TypeUrl = k.url
		return s.poll(ctx, request)
	}
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		request := new(discoveryv3.DiscoveryRequest)
		if err := decode(request); err != nil {
			return nil, err
		}
		if intercept == nil {
			return handle(ctx, request)
		}
		return intercept(ctx, request, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + k.service + "/" + name}, handle)
	}}
}
