package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

// control is a control plane for one weir: delta ADS from prepared messages, so that it costs little itself. The resources do
// not change; mu guards the rest.
type control struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	grpc *grpc.Server
	port int
	// resources by type and name.
	resources map[string]map[string]*anypb.Any

	mu     sync.Mutex
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	sent   int
	failed error
	done   sync.WaitGroup
}

// serve starts a control plane with the resources of fleets.
func serve(fleets ...fleet) (*control, error) {
	c := &control{grpc: grpc.NewServer(), resources: map[string]map[string]*anypb.Any{clusterType: {}, endpointType: {}, listenerType: {}}}
	for _, f := range fleets {
		for i := range f.services {
			c.resources[clusterType][f.name(i)] = pack(f.cluster(i))
			c.resources[endpointType][f.name(i)] = pack(f.assignment(i, 0))
			c.resources[listenerType][f.name(i)] = pack(f.listener(i))
		}
	}
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for xDS: %w", err)
	}
	c.port = at.Addr().(*net.TCPAddr).Port
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(c.grpc, c)
	c.done.Go(func() {
		if err := c.grpc.Serve(at); err != nil {
			c.fail(err)
		}
	})
	return c, nil
}

func (c *control) stop() {
	c.grpc.Stop()
	c.done.Wait()
}

// DeltaAggregatedResources implements the service.
func (c *control) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	c.mu.Lock()
	c.stream = stream
	c.mu.Unlock()
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		if r.ErrorDetail != nil {
			c.fail(fmt.Errorf("weir rejected %s: %s", r.TypeUrl, r.ErrorDetail.Message))
		}
		if err := c.answer(r); err != nil {
			return err
		}
	}
}

// answer sends what a request asks for: everything of a type at first, but endpoints by name.
func (c *control) answer(r *discoveryv3.DeltaDiscoveryRequest) error {
	all := c.resources[r.TypeUrl]
	out := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: r.TypeUrl, SystemVersionInfo: "0"}
	names := r.ResourceNamesSubscribe
	if r.ResponseNonce == "" && r.TypeUrl != endpointType {
		names = nil
		for name := range all {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if body := all[name]; body != nil {
			out.Resources = append(out.Resources, &discoveryv3.Resource{Name: name, Version: "0", Resource: body})
		}
	}
	if len(out.Resources) == 0 {
		return nil
	}
	return c.send(out)
}

// send sends a response under a new nonce.
func (c *control) send(r *discoveryv3.DeltaDiscoveryResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == nil {
		return errors.New("weir is not connected")
	}
	c.sent++
	r.Nonce = strconv.Itoa(c.sent)
	if err := c.stream.Send(r); err != nil {
		return fmt.Errorf("send resources: %w", err)
	}
	return nil
}

// change sends one resource.
func (c *control) change(typeURL, name, version string, body *anypb.Any) error {
	return c.send(&discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: typeURL, SystemVersionInfo: version, Resources: []*discoveryv3.Resource{{Name: name, Version: version, Resource: body}},
	})
}

func (c *control) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = errors.Join(c.failed, err)
}

// failure is what went wrong so far, a rejected resource among others.
func (c *control) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}
