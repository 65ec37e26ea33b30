package model

import (
	"math"
	"time"
)

// UpstreamHTTP says which HTTP is spoken to the hosts of a cluster.
type UpstreamHTTP struct {
	Protocol UpstreamProtocol
	// HTTP2 options; zero values are Envoy's defaults.
	HTTP2 HTTP2Options
	HTTP1 HTTP1Options
	// MaxHeadersBytes bounds a response head; 0 is Envoy's default, 60 KiB, or 80 KiB for HTTP/1. MaxHeadersCount bounds
	// its fields; 0 is 100.
	MaxHeadersBytes, MaxHeadersCount int
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

// HTTP2None stands for a configured 0 in the fields of HTTP2Options that may be 0 and whose default is not.
const HTTP2None = math.MaxUint32

// HTTP2Options is envoy.config.core.v3.Http2ProtocolOptions. Zero means the codec's default.
type HTTP2Options struct {
	MaxConcurrentStreams        uint32
	InitialStreamWindowSize     uint32
	InitialConnectionWindowSize uint32
	// HPACKTableSize in bytes; HTTP2None for no dynamic table.
	HPACKTableSize uint32
	// MaxOutboundFrames bounds the frames of all types that wait to be sent to the peer; default 10000.
	MaxOutboundFrames uint32
	// MaxOutboundControlFrames bounds the PING, SETTINGS and RST_STREAM frames among them; default 1000.
	MaxOutboundControlFrames uint32
	// MaxConsecutiveInboundEmptyFrames bounds HEADERS, CONTINUATION and DATA frames in a row that have neither payload
	// nor END_STREAM; default 1, HTTP2None for none at all.
	MaxConsecutiveInboundEmptyFrames uint32
	// MaxInboundPriorityFramesPerStream bounds PRIORITY frames to this times (1 + streams opened); default 100, HTTP2None
	// for none at all.
	MaxInboundPriorityFramesPerStream uint32
	// MaxInboundWindowUpdatesPerDataFrame bounds WINDOW_UPDATE frames to 5 + 2 * (streams opened + this * DATA frames
	// sent); default 10, at least 1.
	MaxInboundWindowUpdatesPerDataFrame uint32
	// StreamErrorOnInvalid makes a malformed message end its stream instead of the connection.
	StreamErrorOnInvalid bool
	// AllowConnect offers extended CONNECT (RFC 8441) to clients.
	AllowConnect bool
	// AllowMetadata takes METADATA frames for what they are and counts those that are empty; else they are frames of an
	// unknown type. They are dropped either way.
	AllowMetadata bool
	// KeepaliveInterval is the time between PING frames; 0 sends none.
	KeepaliveInterval time.Duration
	// KeepaliveTimeout bounds the wait for the answer to a PING, after which the connection is closed; 0 is no bound.
	KeepaliveTimeout time.Duration
	// KeepaliveJitterPercent of the interval, 0 to 100, is added at random; Envoy's default is 15.
	KeepaliveJitterPercent float64
	// KeepaliveIdleInterval is how long an upstream connection must have been idle for a PING to be sent ahead of a new
	// stream; 0 never.
	KeepaliveIdleInterval time.Duration
	// Settings are sent to the peer beside the codec's own.
	Settings []HTTP2Setting
}

// HTTP2Setting is one SETTINGS parameter (RFC 9113 section 6.5.1).
type HTTP2Setting struct {
	ID    uint16
	Value uint32
}

// HTTP1Options is envoy.config.core.v3.Http1ProtocolOptions.
type HTTP1Options struct {
	AcceptHTTP10       bool
	DefaultHostHTTP10  string
	EnableTrailers     bool
	AllowAbsoluteURL   bool // default true
	AllowChunkedLength bool
	// AllowCustomMethods takes any token for a method, and not only the registered ones.
	AllowCustomMethods bool
	// StreamErrors keeps a connection open after an invalid request where its end is known.
	StreamErrors bool
	// SendFullURL writes whole URLs into request lines.
	SendFullURL bool
	// IgnoreUpgrades are values of Upgrade that are passed over.
	IgnoreUpgrades []StringMatcher
	// HeaderFormat is how header names go out; HeaderPreserveCase works on the side that receives a message.
	HeaderFormat HeaderFormat
	// ProperOwnNames writes names that were not received in proper case and ForwardReason sends reason phrases on, both
	// with HeaderPreserveCase.
	ProperOwnNames, ForwardReason bool
}

// HeaderFormat says how HTTP/1 header names are written.
type HeaderFormat uint8

// Header formats.
const (
	HeaderLowerCase HeaderFormat = iota
	HeaderProperCase
	HeaderPreserveCase
)
