package model

import (
	"net/netip"
	"time"
)

// HTTPConnectionManager is envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.
type HTTPConnectionManager struct {
	CodecType  CodecType
	StatPrefix string
	// RouteConfigName is asked for by RDS when InlineRoutes is nil.
	RouteConfigName string
	// RouteSource delivers RouteConfigName; nil when InlineRoutes is set.
	RouteSource  *Source
	InlineRoutes *RouteConfig
	// HTTPFilters in order; the last one is terminal (the router).
	HTTPFilters []*HTTPFilter
	AccessLogs  []*AccessLog

	ServerName        string // default "envoy"
	ServerHeader      ServerHeaderMode
	GenerateRequestID bool // default true
	PreserveRequestID bool // preserve_external_request_id
	ResponseRequestID bool // always_set_request_id_in_response
	UseRemoteAddress  bool
	XFFNumTrustedHops uint32
	SkipXFFAppend     bool
	Via               string
	AddUserAgent      bool
	InternalCIDRs     []netip.Prefix // default: RFC 1918, loopback and their IPv6 kin
	NormalizePath     bool
	MergeSlashes      bool
	EscapedSlashes    EscapedSlashes
	StripMatchingPort bool
	StripAnyHostPort  bool
	StripTrailingDot  bool
	UnderscoresAction UnderscoresAction
	SchemeOverwrite   string
	Upgrades          []Upgrade
	HTTP1             HTTP1Options
	HTTP2             HTTP2Options

	// IdleTimeout of the connection. Default 1 h; 0 disables.
	IdleTimeout time.Duration
	// MaxConnectionDuration and MaxStreamDuration are unlimited when 0.
	MaxConnectionDuration, MaxStreamDuration time.Duration
	// StreamIdleTimeout default 5 min; 0 disables.
	StreamIdleTimeout time.Duration
	// RequestTimeout bounds receiving the whole request; RequestHeadersTimeout its head. 0 disables, the default.
	RequestTimeout, RequestHeadersTimeout time.Duration
	// DelayedCloseTimeout bounds the wait for the peer to close, after the last response. Default 1 s.
	DelayedCloseTimeout time.Duration
	// MaxRequestHeadersBytes default 60 KiB; MaxHeadersCount default 100.
	MaxRequestHeadersBytes, MaxHeadersCount int
	// MaxRequestsPerConnection is unlimited when 0.
	MaxRequestsPerConnection int
	// Proxy100Continue forwards Expect: 100-continue instead of answering it.
	Proxy100Continue bool
}

// CodecType is HttpConnectionManager.CodecType.
type CodecType uint8

// Codec types.
const (
	CodecAuto CodecType = iota
	CodecHTTP1
	CodecHTTP2
)

// ServerHeaderMode is ServerHeaderTransformation.
type ServerHeaderMode uint8

// Server header modes.
const (
	ServerOverwrite ServerHeaderMode = iota
	ServerAppendIfAbsent
	ServerPassThrough
)

// EscapedSlashes is PathWithEscapedSlashesAction.
type EscapedSlashes uint8

// Actions on %2F and %5C in paths.
const (
	EscapedKeep EscapedSlashes = iota
	EscapedReject
	EscapedUnescapeRedirect
	EscapedUnescapeForward
)

// UnderscoresAction is HeadersWithUnderscoresAction.
type UnderscoresAction uint8

// Actions on header names with underscores.
const (
	UnderscoresAllow UnderscoresAction = iota
	UnderscoresReject
	UnderscoresDrop
)

// Upgrade enables an upgrade type such as "websocket" or "CONNECT" (compared without case).
type Upgrade struct {
	Type     string
	Disabled bool
	// Filters replaces the filter chain for upgraded streams; nil keeps it.
	Filters []*HTTPFilter
}

// HTTPFilter is one configured HTTP filter. Config was decoded by the filter's own package.
type HTTPFilter struct {
	// Name is the key of per-route configuration.
	Name     string
	TypeURL  string
	Config   any
	Disabled bool
}
