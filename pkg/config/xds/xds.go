// Package xds carries configuration from control planes to weir: it speaks the xDS protocol (state of the world and
// delta, aggregated and one stream per type, files) and hands each response to a handler.
//
// It owns streams, versions, nonces, ACK and NACK, reconnection. It must not know what resources mean: it passes them on
// as protobuf Any. A Mux and a File each run on goroutines of their own; subscriptions may be changed from any goroutine.
package xds

import (
	"context"
	"errors"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// Type URLs of the resources that weir asks for.
const (
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	SecretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	// FilterType is that of configurations of single extensions (ECDS), of which weir asks for HTTP filters.
	FilterType = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	// ScopedRouteType is that of the scopes of SRDS, VirtualHostType that of the virtual hosts of VHDS.
	ScopedRouteType = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	VirtualHostType = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	// LbEndpointType is that of the endpoints in the collections of LEDS.
	LbEndpointType = "type.googleapis.com/envoy.config.endpoint.v3.LbEndpoint"
	// RuntimeType is that of the runtime layers of RTDS.
	RuntimeType = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
)

// Resource is one configuration object as it came.
type Resource struct {
	// Name is empty when the protocol does not carry it (state of the world without a Resource wrapper): it is in the body.
	Name string
	// Aliases are further names under which it may have been asked for; delta only.
	Aliases []string
	Version string
	// Body is nil for a heart-beat, which changes nothing but the TTL.
	Body *anypb.Any
	// Unknown are the fields that the resource had and that no message has, so that Body is without them: those of text. In what
	// comes in binary form they are in Body.
	Unknown []protoyaml.Error
	// TTL is 0 when the resource does not expire.
	TTL time.Duration
}

// Update is one response of a control plane.
type Update struct {
	Type string
	// Source is the model.Source.ID of where it came from.
	Source string
	// Version of the whole response (system_version_info in delta).
	Version   string
	Resources []Resource
	// Removed names resources that are gone: those that a delta response calls so, and those whose TTL ended.
	Removed []string
	// Expired tells that the TTL of what is removed ended.
	Expired bool
	// Full tells that Resources is all there is, so that absent listeners and clusters are removed.
	Full bool
	// Refused tells why the response is to be rejected whatever is in its resources; nil for nearly all.
	Refused error
}

// Asked are the subscriptions of one type that a source has.
type Asked struct {
	Type string
	// Source is as in Update.
	Source string
	// All tells of a subscription to all resources of the type.
	All bool
	// Names are those that are subscribed by name, in no order.
	Names []string
}

// ErrUnreadable is in the error of Failure when an answer over HTTP came that is not a discovery response of its type.
var ErrUnreadable = errors.New("the answer cannot be read")

// Handler receives what a source delivers. Calls for one source come one at a time.
type Handler interface {
	// Update applies a response. An error is what the NACK says; what could be applied has been applied nevertheless.
	Update(ctx context.Context, u Update) error
	// Attempt is called for each request to a source that is polled (model.Source.Polled). The requests on streams are not
	// told: there, a response is what a subscription has to show.
	Attempt(a Asked)
	// Failure is called for each poll without an answer to use, and for each stream that ended or could not be made.
	Failure(a Asked, err error)
	// Connected follows the state of the stream to the control plane; identifier is what it calls itself.
	Connected(up bool, identifier string)
}

// NodeFunc returns the node to present; it is called for each request that carries one.
type NodeFunc func() *corev3.Node

// Backoff is the wait between attempts: full jitter over an exponentially growing interval.
type Backoff struct {
	Base, Max time.Duration
}

// DefaultBackoff is Envoy's for xDS streams.
var DefaultBackoff = Backoff{Base: 500 * time.Millisecond, Max: 30 * time.Second}

func (b Backoff) orDefault() Backoff {
	if b == (Backoff{}) {
		return DefaultBackoff
	}
	return b
}

// interval returns the wait before attempt n (0 is the first retry) for a random value in [0, 1).
func (b Backoff) interval(n int, random float64) time.Duration {
	ceiling := b.Max
	if n < 32 && b.Base<<n < b.Max && b.Base<<n > 0 {
		ceiling = b.Base << n
	}
	return max(time.Millisecond, time.Duration(random*float64(ceiling)))
}
