package controlplane

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// clientStatusPath is where client status can be fetched over HTTP.
const clientStatusPath = "/v3/discovery:client_status"

// clientStatus is the service of client status discovery (CSDS).
type clientStatus struct {
	statusv3.UnimplementedClientStatusDiscoveryServiceServer
	server *Server
}

// StreamClientStatus implements the service: each request is answered once. One without matchers takes those of the
// request before.
func (c clientStatus) StreamClientStatus(x statusv3.ClientStatusDiscoveryService_StreamClientStatusServer) error {
	var matchers []*matcherv3.NodeMatcher
	for {
		r, err := x.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(r.GetNodeMatchers()) == 0 {
			r.NodeMatchers = matchers
		}
		matchers = r.GetNodeMatchers()
		answer, err := c.FetchClientStatus(x.Context(), r)
		if err != nil {
			return err
		}
		if err := x.Send(answer); err != nil {
			return err
		}
	}
}

// FetchClientStatus implements the service.
func (c clientStatus) FetchClientStatus(_ context.Context, r *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	match, err := nodeMatch(r.GetNodeMatchers())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "node_matchers: %v", err)
	}
	return &statusv3.ClientStatusResponse{Config: c.server.clientConfigs(match, !r.GetExcludeResourceContents())}, nil
}

// clientConfigs tells of all clients that are connected, by node and address, what they were sent and what they made of it.
// The content of secrets is left out.
func (s *Server) clientConfigs(match func(*corev3.Node) bool, contents bool) []*statusv3.ClientConfig {
	s.mu.Lock()
	sets := s.sets
	s.mu.Unlock()
	c := s.clients
	c.mu.Lock()
	defer c.mu.Unlock()
	byClient := map[string]*statusv3.ClientConfig{}
	for t := range c.talks {
		if t.node == nil || !t.ended.IsZero() || !match(t.node) {
			continue
		}
		key := t.node.GetId() + "\x00" + t.peer
		one := byClient[key]
		if one == nil {
			one = &statusv3.ClientConfig{Node: t.node}
			byClient[key] = one
		}
		served := sets[c.groupOf(t.node)]
		if served == nil {
			served = sets[everyone]
		}
		for _, p := range t.topics {
			one.GenericXdsConfigs = append(one.GenericXdsConfigs, p.configs(served, t.delta, contents)...)
		}
	}
	out := make([]*statusv3.ClientConfig, 0, len(byClient))
	for _, key := range slices.Sorted(maps.Keys(byClient)) {
		one := byClient[key]
		slices.SortFunc(one.GenericXdsConfigs, func(a, b *statusv3.ClientConfig_GenericXdsConfig) int {
			return strings.Compare(a.GetTypeUrl()+"\x00"+a.GetName(), b.GetTypeUrl()+"\x00"+b.GetName())
		})
		out = append(out, one)
	}
	return out
}

// configs tells of the resources that a client was sent, and of those that it asked for and was not sent.
func (p *topic) configs(served *set, delta, contents bool) (out []*statusv3.ClientConfig_GenericXdsConfig) {
	contents = contents && p.url != resource.SecretType
	for name, h := range p.holds {
		g := &statusv3.ClientConfig_GenericXdsConfig{
			TypeUrl: p.url, Name: name, VersionInfo: h.version, LastUpdated: timestamppb.New(h.at),
			ConfigStatus: statusv3.ConfigStatus_STALE, ClientStatus: adminv3.ClientResourceStatus_REQUESTED,
		}
		if !delta {
			g.VersionInfo = p.sent
		}
		if contents {
			g.XdsConfig = h.body
		}
		switch h.state {
		case holdAcked:
			g.ConfigStatus, g.ClientStatus = statusv3.ConfigStatus_SYNCED, adminv3.ClientResourceStatus_ACKED
		case holdRejected:
			g.ConfigStatus, g.ClientStatus = statusv3.ConfigStatus_ERROR, adminv3.ClientResourceStatus_NACKED
			g.ErrorState = &adminv3.UpdateFailureState{Details: p.err, VersionInfo: p.errVersion, LastUpdateAttempt: stampProto(p.errAt)}
		}
		out = append(out, g)
	}
	if served == nil || served.tables[p.url] == nil {
		return out
	}
	unsent := func(name, version string, client adminv3.ClientResourceStatus) {
		if _, ok := p.holds[name]; !ok {
			out = append(out, &statusv3.ClientConfig_GenericXdsConfig{
				TypeUrl: p.url, Name: name, VersionInfo: version, ConfigStatus: statusv3.ConfigStatus_NOT_SENT, ClientStatus: client,
			})
		}
	}
	wanted, absent := served.tables[p.url].wanted(asked{p})
	for name, i := range wanted {
		if name == i.name {
			unsent(name, i.version, adminv3.ClientResourceStatus_REQUESTED)
		}
	}
	for name := range absent {
		unsent(name, "", adminv3.ClientResourceStatus_DOES_NOT_EXIST)
	}
	return out
}

func stampProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// asked is a topic as the library sees a subscription.
type asked struct{ *topic }

// ReturnedResources implements cache.Subscription.
func (asked) ReturnedResources() map[string]string { return nil }

// SubscribedResources implements cache.Subscription.
func (a asked) SubscribedResources() map[string]struct{} { return a.names }

// IsWildcard implements cache.Subscription.
func (a asked) IsWildcard() bool { return a.wildcard }
