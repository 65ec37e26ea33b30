package model

import "time"

// Source says where a dynamic resource comes from (envoy.config.core.v3.ConfigSource). A nil *Source in a reference
// means that the resource is static.
type Source struct {
	Kind SourceKind
	// Path is the watched file of SourcePath; WatchedDirectory, when set, is watched for moves instead of the file.
	Path, WatchedDirectory string
	// API is set for SourceAPI only.
	API *APISource
	// InitialFetchTimeout bounds the wait for the first answer; 0 waits for ever. Default 15 s.
	InitialFetchTimeout time.Duration
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
	// Services in order of preference; at least one.
	Services []GRPCService
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

// GRPCService is a gRPC server reached through a cluster (envoy.config.core.v3.GrpcService with envoy_grpc).
type GRPCService struct {
	Cluster string
	// Authority is the :authority header; the cluster's name when empty.
	Authority string
	// InitialMetadata is sent with every call, in order.
	InitialMetadata []NameValue
	// BackOffBase and BackOffMax bound the jittered exponential reconnect delay. Defaults 500 ms and 30 s.
	BackOffBase, BackOffMax time.Duration
	// MaxReceiveMessageLength in bytes; 0 is the client's default.
	MaxReceiveMessageLength uint32
}

// NameValue is a header.
type NameValue struct{ Name, Value string }
