// Package hds is the client of the health discovery service: a management server tells weir which hosts to check, and weir
// tells it how they are (envoy.service.health.v3).
//
// It owns the stream, and the translation of what the server asks for into clusters with health checks. It must not check
// anything itself: whoever makes a Client gives it clusters to run and asks it how their hosts are. A Client runs on the
// goroutine of Run.
package hds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/service/health/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Timing of the stream, as in Envoy.
const (
	defaultInterval = time.Second
	connectTimeout  = time.Second
	firstRetry      = time.Second
	maxRetry        = 30 * time.Second
)

// Checker runs the checks.
type Checker interface {
	// Apply makes the clusters those that are checked.
	Apply(clusters []*model.Cluster)
	// Health is how the endpoints of a cluster are, by endpoint; those that are missing were not checked yet.
	Health(cluster string) map[*model.Endpoint]corev3.HealthStatus
}

// Options configure a Client. All but Metadata must be set.
type Options struct {
	// Dial returns the channel to the management server. It is called for each stream.
	Dial func() (grpc.ClientConnInterface, error)
	// Metadata goes with each stream.
	Metadata metadata.MD
	Node     func() *corev3.Node
	// Translate makes a cluster of a message; the error says what is wrong with it.
	Translate func(*clusterv3.Cluster) (*model.Cluster, error)
	Checker   Checker
	// Stats is the root scope.
	Stats *stats.Scope
	Log   *slog.Logger
}

// Client follows one management server.
type Client struct {
	opt Options
	// requests and so on are hds_delegate.*.
	requests, responses, errs, updates *stats.Counter
	// order and reports are what is asked for now.
	reports []report
}

// report is a cluster that the server asked for, with its translated form.
type report struct {
	asked   *healthv3.ClusterHealthCheck
	cluster *model.Cluster
}

// New makes a client that does nothing until Run.
func New(opt Options) *Client {
	sc := opt.Stats.Scope("hds_delegate")
	return &Client{
		opt: opt, requests: sc.Counter("requests"), responses: sc.Counter("responses"), errs: sc.Counter("errors"), updates: sc.Counter("updates"),
	}
}

// Run keeps a stream to the server until ctx ends. What was asked for last is checked on while there is none.
func (c *Client) Run(ctx context.Context) {
	for attempt := 0; ; attempt++ {
		worked, err := c.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		c.errs.Inc()
		if worked {
			attempt = 0
		}
		wait := rand.N(min(maxRetry, firstRetry<<min(attempt, 5))) + time.Millisecond
		c.opt.Log.Warn("health discovery stream ended", "error", err, "retry_in", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// stream runs one stream to its end and tells whether the server ever answered on it.
func (c *Client) stream(ctx context.Context) (worked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if len(c.opt.Metadata) > 0 {
		ctx = metadata.NewOutgoingContext(ctx, c.opt.Metadata)
	}
	conn, err := c.opt.Dial()
	if err != nil {
		return false, fmt.Errorf("reach health discovery service: %w", err)
	}
	s, err := healthv3.NewHealthDiscoveryServiceClient(conn).StreamHealthCheck(ctx)
	if err != nil {
		return false, fmt.Errorf("open health discovery stream: %w", err)
	}
	if err := s.Send(hello(c.opt.Node())); err != nil {
		return false, fmt.Errorf("send node: %w", err)
	}
	c.requests.Inc()
	specifiers, ended := receive(ctx, s)
	interval := defaultInterval
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return worked, err
		case spec := <-specifiers:
			worked = true
			c.requests.Inc()
			if d := spec.GetInterval(); d.CheckValid() == nil && d.AsDuration() > 0 {
				interval = d.AsDuration()
			}
			c.take(spec)
			tick.Reset(max(interval, time.Millisecond))
		case <-tick.C:
			if !worked {
				continue // nothing was asked for yet
			}
			if err := s.Send(&healthv3.HealthCheckRequestOrEndpointHealthResponse{
				RequestType: &healthv3.HealthCheckRequestOrEndpointHealthResponse_EndpointHealthResponse{EndpointHealthResponse: c.answer()},
			}); err != nil {
				return worked, fmt.Errorf("send health: %w", err)
			}
			c.responses.Inc()
		}
	}
}

// receive reads the stream on a goroutine that ends with it.
func receive(ctx context.Context, s healthv3.HealthDiscoveryService_StreamHealthCheckClient) (<-chan *healthv3.HealthCheckSpecifier, <-chan error) {
	specifiers, ended := make(chan *healthv3.HealthCheckSpecifier), make(chan error, 1)
	go func() {
		for {
			spec, err := s.Recv()
			if errors.Is(err, io.EOF) {
				err = errors.New("the server closed the stream")
			}
			if err != nil {
				ended <- err
				return
			}
			select {
			case specifiers <- spec:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	return specifiers, ended
}

// hello presents weir and what it can check.
func hello(node *corev3.Node) *healthv3.HealthCheckRequestOrEndpointHealthResponse {
	return &healthv3.HealthCheckRequestOrEndpointHealthResponse{
		RequestType: &healthv3.HealthCheckRequestOrEndpointHealthResponse_HealthCheckRequest{HealthCheckRequest: &healthv3.HealthCheckRequest{
			Node: node,
			Capability: &healthv3.Capability{HealthCheckProtocols: []healthv3.Capability_Protocol{
				healthv3.Capability_HTTP, healthv3.Capability_TCP,
			}},
		}},
	}
}

// take has checked what the server asks for. A cluster that cannot be is left out, and told in the log.
func (c *Client) take(spec *healthv3.HealthCheckSpecifier) {
	c.updates.Inc()
	c.reports = c.reports[:0:0]
	var clusters []*model.Cluster
	seen := map[string]bool{}
	for _, asked := range spec.GetClusterHealthChecks() {
		name := asked.GetClusterName()
		translated, err := c.opt.Translate(message(asked))
		if err == nil && seen[name] {
			err = errors.New("the cluster is asked for twice")
		}
		if err != nil {
			c.errs.Inc()
			c.opt.Log.Warn("a cluster of the health discovery service is not checked", "cluster", name, "error", err)
			continue
		}
		seen[name] = true
		clusters = append(clusters, translated)
		c.reports = append(c.reports, report{asked, translated})
	}
	c.opt.Checker.Apply(clusters)
}

// message is the cluster that a server asks to be checked.
func message(asked *healthv3.ClusterHealthCheck) *clusterv3.Cluster {
	m := &clusterv3.Cluster{
		Name: asked.GetClusterName(), ConnectTimeout: durationpb.New(connectTimeout), HealthChecks: asked.GetHealthChecks(),
		TransportSocketMatches: asked.GetTransportSocketMatches(), UpstreamBindConfig: asked.GetUpstreamBindConfig(),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment:       &endpointv3.ClusterLoadAssignment{ClusterName: asked.GetClusterName()},
	}
	for _, l := range asked.GetLocalityEndpoints() {
		locality := &endpointv3.LocalityLbEndpoints{Locality: l.GetLocality()}
		for _, e := range l.GetEndpoints() {
			locality.LbEndpoints = append(locality.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: e}})
		}
		m.LoadAssignment.Endpoints = append(m.LoadAssignment.Endpoints, locality)
	}
	return m
}

// answer tells how everything is, by cluster and, for servers of old, as one list.
func (c *Client) answer() *healthv3.EndpointHealthResponse {
	out := &healthv3.EndpointHealthResponse{}
	for _, r := range c.reports {
		health := c.opt.Checker.Health(r.asked.GetClusterName())
		cluster := &healthv3.ClusterEndpointsHealth{ClusterName: r.asked.GetClusterName()}
		for i, l := range r.asked.GetLocalityEndpoints() {
			locality := &healthv3.LocalityEndpointsHealth{Locality: l.GetLocality()}
			for j, e := range l.GetEndpoints() {
				one := &healthv3.EndpointHealth{Endpoint: e, HealthStatus: health[r.cluster.Inline.Localities[i].Endpoints[j]]}
				locality.EndpointsHealth = append(locality.EndpointsHealth, one)
				//lint:ignore SA1019 servers of old read this list only
				out.EndpointsHealth = append(out.EndpointsHealth, one)
			}
			cluster.LocalityEndpointsHealth = append(cluster.LocalityEndpointsHealth, locality)
		}
		out.ClusterEndpointsHealth = append(out.ClusterEndpointsHealth, cluster)
	}
	return out
}
