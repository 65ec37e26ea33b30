package model

// UpstreamHTTP says which HTTP is spoken to the hosts of a cluster.
type UpstreamHTTP struct {
	Protocol UpstreamProtocol
	// HTTP2 options; zero values are Envoy's defaults.
	HTTP2 HTTP2Options
	HTTP1 HTTP1Options
}

// UpstreamProtocol is how the upstream HTTP version is chosen.
type UpstreamProtocol uint8

// Upstream protocols.
const (
	UpstreamHTTP1      UpstreamProtocol = iota // explicit HTTP/1.1, the default
	UpstreamHTTP2                              // prior knowledge, or ALPN h2 over TLS
	UpstreamAuto                               // by ALPN
	UpstreamDownstream                         // the protocol of the downstream request
)

// HTTP2Options is envoy.config.core.v3.Http2ProtocolOptions. Zero means the codec's default.
type HTTP2Options struct {
	MaxConcurrentStreams        uint32
	InitialStreamWindowSize     uint32
	InitialConnectionWindowSize uint32
	HPACKTableSize              uint32
}

// HTTP1Options is envoy.config.core.v3.Http1ProtocolOptions.
type HTTP1Options struct {
	AcceptHTTP10       bool
	DefaultHostHTTP10  string
	EnableTrailers     bool
	AllowAbsoluteURL   bool // default true
	AllowChunkedLength bool
	// HeaderFormat is how header names go out.
	HeaderFormat HeaderFormat
}

// HeaderFormat says how HTTP/1 header names are written.
type HeaderFormat uint8

// Header formats.
const (
	HeaderLowerCase HeaderFormat = iota
	HeaderProperCase
	HeaderPreserveCase
)
