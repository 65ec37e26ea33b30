// Package deltaxds is the control plane that the tools which measure weir run for it: delta ADS from prepared messages, so that it costs little
// itself.
//
// It owns the stream to one weir and the answers that are awaited from it. It must not know what the resources say. Server.mu guards all but
// the resources, which do not change.
package deltaxds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resources are the prepared messages, by type URL and name.
type Resources map[string]map[string]*anypb.Any

// Server is a control plane for one weir.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	grpc      *grpc.Server
	port      int
	resources Resources
	// gate is closed when answers may be given.
	gate chan struct{}

	mu     sync.Mutex
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	nonce  int
	acks   map[string]chan error
	failed error
	done   sync.WaitGroup
}

// Start listens on a port of 127.0.0.1. Weir gets no answer before Open.
func Start(resources Resources) (*Server, error) {
	s := &Server{grpc: grpc.NewServer(), resources: resources, gate: make(chan struct{}), acks: make(map[string]chan error)}
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for xDS: %w", err)
	}
	s.port = at.Addr().(*net.TCPAddr).Port
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.grpc, s)
	s.done.Go(func() {
		if err := s.grpc.Serve(at); err != nil {
			s.fail(err)
		}
	})
	return s, nil
}

// Port that it listens on.
func (s *Server) Port() int { return s.port }

// Open has requests answered from now on. It is called once.
func (s *Server) Open() { close(s.gate) }

// Stop ends the stream and waits until nothing of it runs.
func (s *Server) Stop() {
	s.grpc.Stop()
	s.done.Wait()
}

// DeltaAggregatedResources implements the service.
func (s *Server) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
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

// request sends what is asked for: all clusters and listeners at first, and everything else by name.
func (s *Server) request(r *discoveryv3.DeltaDiscoveryRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rejected error
	if r.ErrorDetail != nil {
		rejected = fmt.Errorf("weir rejected %s: %s", r.TypeUrl, r.ErrorDetail.Message)
	}
	s.settle(r.ResponseNonce, rejected)
	out := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: r.TypeUrl, SystemVersionInfo: "0"}
	add := func(name string, body *anypb.Any) {
		out.Resources = append(out.Resources, &discoveryv3.Resource{Name: name, Version: "0", Resource: body})
	}
	all := s.resources[r.TypeUrl]
	if r.ResponseNonce == "" && (r.TypeUrl == resourcev3.ClusterType || r.TypeUrl == resourcev3.ListenerType) {
		for name, body := range all {
			add(name, body)
		}
	} else {
		for _, name := range r.ResourceNamesSubscribe {
			if body := all[name]; body != nil {
				add(name, body)
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
func (s *Server) send(r *discoveryv3.DeltaDiscoveryResponse) (<-chan error, error) {
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
func (s *Server) settle(nonce string, err error) {
	s.failed = errors.Join(s.failed, err)
	if ack := s.acks[nonce]; ack != nil {
		ack <- err
		delete(s.acks, nonce)
	}
}

func (s *Server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
}

// Failure is what went wrong so far, a rejected resource among others.
func (s *Server) Failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Push sends one changed resource; weir's answer comes on the channel, which nobody has to read.
func (s *Server) Push(typeURL, name, version string, body *anypb.Any) (<-chan error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.send(&discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: typeURL, SystemVersionInfo: version, Resources: []*discoveryv3.Resource{{Name: name, Version: version, Resource: body}},
	})
}

// Change pushes one resource and waits until weir has it in force.
func (s *Server) Change(ctx context.Context, typeURL, name, version string, body *anypb.Any) error {
	ack, err := s.Push(typeURL, name, version, body)
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
