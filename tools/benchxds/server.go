package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

// server is a control plane for one weir: delta ADS from prepared messages, so that it costs little itself. mu guards all but
// the resources, which do not change.
type server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	grpc *grpc.Server
	at   int // port
	// resources by type and name.
	resources map[string]map[string]*anypb.Any
	// gate is closed when answers may be given.
	gate chan struct{}

	mu     sync.Mutex
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	nonce  int
	acks   map[string]chan error
	failed error
	done   sync.WaitGroup
}

func startServer(f fleet) (*server, error) {
	s := &server{grpc: grpc.NewServer(), acks: map[string]chan error{}, gate: make(chan struct{}), resources: map[string]map[string]*anypb.Any{
		clusterType: {}, endpointType: {}, listenerType: {}, routeType: {},
	}}
	for i := range f.clusters() {
		s.resources[clusterType][clusterName(i)] = pack(f.cluster(i, 0))
		s.resources[endpointType][clusterName(i)] = pack(f.assignment(i, 0))
	}
	if f.large {
		s.resources[clusterType][clusterName(largeCluster)] = pack(f.cluster(largeCluster, 0))
		s.resources[endpointType][clusterName(largeCluster)] = pack(f.largeAssignment(0))
	}
	for i := range f.listeners() {
		l := f.listener(i)
		s.resources[listenerType][l.Name] = pack(l)
		s.resources[routeType][routesName(i)] = pack(f.routeConfig(i, 0))
	}
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for xDS: %w", err)
	}
	s.at = at.Addr().(*net.TCPAddr).Port
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.grpc, s)
	s.done.Go(func() {
		if err := s.grpc.Serve(at); err != nil {
			s.fail(err)
		}
	})
	return s, nil
}

func (s *server) stop() {
	s.grpc.Stop()
	s.done.Wait()
}

// DeltaAggregatedResources implements the service.
func (s *server) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	s.mu.Lock()
	s.stream = stream
	s.mu.Unlock()
	select {
	case <-s.gate:
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := s.request(r); err != nil {
			s.fail(err)
			return err
		}
	}
}

func (s *server) request(r *discoveryv3.DeltaDiscoveryRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.ErrorDetail != nil {
		s.settle(r.ResponseNonce, fmt.Errorf("weir rejected %s: %s", r.TypeUrl, r.ErrorDetail.Message))
	}
	s.settle(r.ResponseNonce, nil)
	all := s.resources[r.TypeUrl]
	out := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: r.TypeUrl, SystemVersionInfo: "0"}
	switch {
	case r.ResponseNonce == "" && (r.TypeUrl == clusterType || r.TypeUrl == listenerType):
		for name, body := range all {
			out.Resources = append(out.Resources, &discoveryv3.Resource{Name: name, Version: "0", Resource: body})
		}
	default:
		for _, name := range r.ResourceNamesSubscribe {
			if body := all[name]; body != nil {
				out.Resources = append(out.Resources, &discoveryv3.Resource{Name: name, Version: "0", Resource: body})
			}
		}
	}
	if len(out.Resources) == 0 {
		return nil
	}
	_, err := s.send(out)
	return err
}

// send sends a response under a new nonce. Called with mu held.
func (s *server) send(r *discoveryv3.DeltaDiscoveryResponse) (<-chan error, error) {
	if s.stream == nil {
		return nil, errors.New("weir is not connected")
	}
	s.nonce++
	r.Nonce = strconv.Itoa(s.nonce)
	ack := make(chan error, 1)
	s.acks[r.Nonce] = ack
	if err := s.stream.Send(r); err != nil {
		return nil, fmt.Errorf("send resources: %w", err)
	}
	return ack, nil
}

// settle ends the wait for an answer to a response. Called with mu held.
func (s *server) settle(nonce string, err error) {
	if err != nil && s.failed == nil {
		s.failed = err
	}
	if ack := s.acks[nonce]; ack != nil {
		ack <- err
		delete(s.acks, nonce)
	}
}

func (s *server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
}

// failure is what went wrong so far, a rejected resource among others.
func (s *server) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// push sends one changed resource; the answer of weir comes on the channel.
func (s *server) push(typeURL, name, version string, body *anypb.Any) (<-chan error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.send(&discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: typeURL, SystemVersionInfo: version, Resources: []*discoveryv3.Resource{{Name: name, Version: version, Resource: body}},
	})
}

// change pushes one resource and waits until weir has it in force.
func (s *server) change(ctx context.Context, typeURL, name, version string, body *anypb.Any) error {
	ack, err := s.push(typeURL, name, version, body)
	if err != nil {
		return err
	}
	select {
	case err := <-ack:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for weir to take %s: %w", name, ctx.Err())
	}
}
