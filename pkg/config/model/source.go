package model

import (
	"fmt"
	"time"
)

// Source says where a dynamic resource comes from (envoy.config.core.v3.ConfigSource). A nil *Source in a reference
// means that the resource is static.
type Source struct {
	Kind SourceKind
	// Path is the watched file of SourcePath; WatchedDirectory, when set, is watched for moves instead of the file.
	Path, WatchedDirectory string
	// API is set for SourceAPI only.
	API *APISource
	// Authorities are those of xdstp names that this source serves itself, whatever the bootstrap says of them.
	Authorities []string
	// Collection, an xdstp name that ends in /*, is followed in place of all resources of a type; empty follows those.
	Collection string
	// InitialFetchTimeout bounds the wait for the first answer; 0 waits for ever. Default 15 s.
	InitialFetchTimeout time.Duration
}

// ID tells sources apart by what they say, as each resource has a translated source of its own; empty for the aggregated stream.
func (s *Source) ID() string {
	switch {
	case s.Kind == SourceADS || s.Kind == SourceSelf:
		return ""
	case s.Kind == SourcePath:
		return fmt.Sprintf("path %q %q", s.Path, s.WatchedDirectory)
	case s.API == nil:
		return "none"
	}
	api := *s.API
	limit := RequestRateLimit{}
	if api.RateLimit != nil {
		limit, api.RateLimit = *api.RateLimit, nil // a pointer has no content when printed
	}
	return fmt.Sprintf("api %#v %v", api, limit)
}

// Polled tells that resources of the source come when they are asked for, by REST or from a file; others push them.
func (s *Source) Polled() bool {
	return s.Kind == SourcePath || s.Kind == SourceAPI && s.API != nil && s.API.Type == APIREST
}

// SourceKind is the way to a resource.
type SourceKind uint8

// Source kinds.
const (
	// SourceADS is the aggregated stream of the bootstrap.
	SourceADS SourceKind = iota
	// SourceSelf is the server that delivered the referring resource.
	SourceSelf
	// SourcePath is a file.
	SourcePath
	// SourceAPI is a stream of its own.
	SourceAPI
)

// APISource is a management server (envoy.config.core.v3.ApiConfigSource).
type APISource struct {
	Type APIType
	// Services in order of preference; at least one, but for APIREST.
	Services []GRPCService
	// Clusters are the servers of APIREST in order of preference; at least one there, none elsewhere.
	Clusters []string
	// RefreshDelay is the time between two polls of APIREST, above 0; RequestTimeout bounds each of them (default 1 s).
	RefreshDelay, RequestTimeout time.Duration
	// NodeOnFirstMessageOnly leaves the node out of all requests of a stream but the first.
	NodeOnFirstMessageOnly bool
	// RateLimit bounds discovery requests; nil does not.
	RateLimit *RequestRateLimit
}

// RequestRateLimit is a token bucket for discovery requests: MaxTokens (default 100) refilled with FillRate tokens per
// second (default 10).
type RequestRateLimit struct {
	MaxTokens uint32
	FillRate  float64
}

// APIType is ApiConfigSource.ApiType.
type APIType uint8

// API types.
const (
	APIREST APIType = iota
	APIGRPC
	APIDeltaGRPC
	APIAggregatedGRPC
	APIAggregatedDeltaGRPC
)

// Delta tells the incremental protocol variants.
func (t APIType) Delta() bool { return t == APIDeltaGRPC || t == APIAggregatedDeltaGRPC }

// Aggregated tells the variants that carry all types on one stream.
func (t APIType) Aggregated() bool { return t == APIAggregatedGRPC || t == APIAggregatedDeltaGRPC }

// GRPCService is a gRPC server (envoy.config.core.v3.GrpcService), reached through a cluster (envoy_grpc), or by itself
// (google_grpc). It holds no pointers, so that equal services print alike.
type GRPCService struct {
	// Cluster is empty for google_grpc.
	Cluster string
	// Google is set, with a target, for google_grpc only.
	Google GoogleGRPC
	// Authority is the :authority header; the cluster's name, or the target, when empty.
	Authority string
	// InitialMetadata is sent with every call, in order.
	InitialMetadata []NameValue
	// BackOffBase and BackOffMax bound the jittered exponential reconnect delay. Defaults 500 ms and 30 s.
	BackOffBase, BackOffMax time.Duration
	// MaxReceiveMessageLength in bytes; 0 is unlimited.
	MaxReceiveMessageLength uint32
}

// Name is how logs call the service.
func (s *GRPCService) Name() string {
	if s.Cluster != "" {
		return s.Cluster
	}
	return s.Google.Target
}

// GoogleGRPC is a gRPC server that is reached without a cluster (GrpcService.GoogleGrpc).
type GoogleGRPC struct {
	// Target is a gRPC name: dns:///HOST:PORT, ipv4:ADDRESS:PORT[,...], ipv6:[ADDRESS]:PORT[,...], unix:PATH, or HOST:PORT.
	Target string
	// StatPrefix names the statistics: grpc.PREFIX.streams_total and streams_closed_CODE.
	StatPrefix string
	// TLS encrypts. The others hold PEM; empty Roots trust the system's, an empty CertChain presents none.
	TLS                          bool
	Roots, CertChain, PrivateKey string
	// ServerName replaces the target's host in the handshake when set.
	ServerName string
	// AccessToken is sent as a bearer token with every call; empty sends none.
	AccessToken string
	// KeepaliveTime between two pings, 0 for the default, KeepaliveTimeout for the answer to one, KeepaliveIdle sends them
	// without a call, too.
	KeepaliveTime, KeepaliveTimeout time.Duration
	KeepaliveIdle                   bool
}

// NameValue is a header.
type NameValue struct{ Name, Value string }
