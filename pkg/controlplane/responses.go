package controlplane

import (
	"context"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
)

// sotwAnswer is an answer of the state of the world.
type sotwAnswer struct {
	request *cache.Request
	version string
	items   []*item
	// full tells that items are all that the client asked for.
	full  bool
	known map[string]string
}

var _ cache.Response = (*sotwAnswer)(nil)

// GetDiscoveryResponse implements cache.Response.
func (a *sotwAnswer) GetDiscoveryResponse() (*discoveryv3.DiscoveryResponse, error) {
	r := &discoveryv3.DiscoveryResponse{VersionInfo: a.version, TypeUrl: a.request.GetTypeUrl()}
	for _, i := range a.items {
		r.Resources = append(r.Resources, i.bare)
	}
	return r, nil
}

// GetRequest implements cache.Response.
func (a *sotwAnswer) GetRequest() *discoveryv3.DiscoveryRequest { return a.request }

// GetVersion implements cache.Response.
func (a *sotwAnswer) GetVersion() (string, error) { return a.version, nil }

// GetResponseVersion implements cache.Response.
func (a *sotwAnswer) GetResponseVersion() string { return a.version }

// GetReturnedResources implements cache.Response.
func (a *sotwAnswer) GetReturnedResources() map[string]string { return a.known }

// answerKey finds the answer in the context of a response.
type answerKey struct{}

// GetContext implements cache.Response.
func (a *sotwAnswer) GetContext() context.Context {
	return context.WithValue(context.Background(), answerKey{}, a)
}

// deltaAnswer is an answer of the incremental protocol.
type deltaAnswer struct {
	request  *cache.DeltaRequest
	response *discoveryv3.DeltaDiscoveryResponse
	known    map[string]string
}

var _ cache.DeltaResponse = (*deltaAnswer)(nil)

// GetDeltaDiscoveryResponse implements cache.DeltaResponse.
func (a *deltaAnswer) GetDeltaDiscoveryResponse() (*discoveryv3.DeltaDiscoveryResponse, error) {
	return a.response, nil
}

// GetDeltaRequest implements cache.DeltaResponse.
func (a *deltaAnswer) GetDeltaRequest() *discoveryv3.DeltaDiscoveryRequest { return a.request }

// GetSystemVersion implements cache.DeltaResponse.
func (a *deltaAnswer) GetSystemVersion() (string, error) {
	return a.response.GetSystemVersionInfo(), nil
}

// GetResponseVersion implements cache.DeltaResponse.
func (a *deltaAnswer) GetResponseVersion() string { return a.response.GetSystemVersionInfo() }

// GetNextVersionMap implements cache.DeltaResponse.
func (a *deltaAnswer) GetNextVersionMap() map[string]string { return a.known }

// GetReturnedResources implements cache.DeltaResponse.
func (a *deltaAnswer) GetReturnedResources() map[string]string { return a.known }

// GetContext implements cache.DeltaResponse.
func (a *deltaAnswer) GetContext() context.Context { return context.Background() }
