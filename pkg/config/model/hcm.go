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
	// Scoped chooses the route configuration for each request in place of the three above; nil does not.
	Scoped *ScopedRoutes
	// HTTPFilters in order; the last one is terminal (the router).
	HTTPFilters []*HTTPFilter
	AccessLogs  []*AccessLog

	ServerName        string // default "envoy"
	ServerHeader      ServerHeaderMode
	GenerateRequestID bool // default true
	PreserveRequestID bool // preserve_external_request_id
	// PackTraceReason marks a preserved request id as not traced, as far as it is a UUID. Default true.
	PackTraceReason   bool
	ResponseRequestID bool // always_set_request_id_in_response
	UseRemoteAddress  bool
	XFFNumTrustedHops uint32
	SkipXFFAppend     bool
	Via               string
	AddUserAgent      bool
	// AppendForwardedPort sets x-forwarded-port to the port that the client connected to.
	AppendForwardedPort bool
	// ForwardClientCert says what becomes of x-forwarded-client-cert, ClientCertDetails what weir adds to it.
	ForwardClientCert ForwardClientCert
	ClientCertDetails ClientCertDetails
	// EarlyMutations change the request before anything else looks at it, and IPDetectors find the client's address without
	// use_remote_address. They are what the extensions' own packages decoded; pkg/proxy/hcm declares the interfaces.
	EarlyMutations, IPDetectors []any
	// InternalUnixSockets takes clients on unix sockets for internal ones.
	InternalUnixSockets bool
	InternalCIDRs       []netip.Prefix // default: RFC 1918, loopback and their IPv6 kin
	// InternalDefault tells that InternalCIDRs are the default, which the runtime can empty.
	InternalDefault bool
	NormalizePath   bool
	MergeSlashes    bool
	// NormalizePathDefault and EscapedSlashesDefault tell that the configuration leaves the choice to the runtime.
	NormalizePathDefault, EscapedSlashesDefault bool
	EscapedSlashes                              EscapedSlashes
	StripMatchingPort                           bool
	StripAnyHostPort                            bool
	StripTrailingDot                            bool
	UnderscoresAction                           UnderscoresAction
	SchemeOverwrite                             string
	// SchemeMatchUpstream sends ":scheme" as the upstream connection is encrypted or not, unless SchemeOverwrite is set.
	SchemeMatchUpstream bool
	Upgrades            []Upgrade
	HTTP1               HTTP1Options
	HTTP2               HTTP2Options

	// IdleTimeout of the connection. Default 1 h; 0 disables.
	IdleTimeout time.Duration
	// MaxConnectionDuration and MaxStreamDuration are unlimited when 0.
	MaxConnectionDuration, MaxStreamDuration time.Duration
	// StreamIdleTimeout default 5 min; 0 disables.
	StreamIdleTimeout time.Duration
	// RequestTimeout bounds receiving the whole request; RequestHeadersTimeout its head. 0 disables, the default.
	RequestTimeout, RequestHeadersTimeout time.Duration
	// DelayedCloseTimeout bounds the wait for the peer to close, after the last response. Default 1 s; 0 does not wait.
	DelayedCloseTimeout time.Duration
	// DrainTimeout is the time between telling a client that its connection is about to end and ending it when it is idle.
	// Default 5 s; 0 does not wait.
	DrainTimeout time.Duration
	// SafeMaxConnectionDuration lets an HTTP/1 connection that is too old end with its next response only.
	SafeMaxConnectionDuration bool
	// MaxRequestHeadersBytes default 60 KiB; MaxHeadersCount default 100.
	MaxRequestHeadersBytes, MaxHeadersCount int
	// MaxHeadersBytesDefault and MaxHeadersCountDefault tell that the configuration leaves these bounds to the runtime.
	MaxHeadersBytesDefault, MaxHeadersCountDefault bool
	// MaxRequestsPerConnection is unlimited when 0.
	MaxRequestsPerConnection int
	// Proxy100Continue forwards Expect: 100-continue instead of answering it.
	Proxy100Continue bool

	// LocalReply changes the responses that weir gives itself; nil leaves them alone.
	LocalReply *LocalReply
	// ProxyStatus adds the Proxy-Status header (RFC 9209); nil does not.
	ProxyStatus *ProxyStatus
	// AccessLogInterval writes access log entries of a stream periodically; 0 only when it ends.
	AccessLogInterval time.Duration
	// LogOnNewRequest writes an entry when a request has come, LogOnTunnel when a tunnel is established.
	LogOnNewRequest, LogOnTunnel bool
}

// ForwardClientCert is ForwardClientCertDetails.
type ForwardClientCert uint8

// Treatments of x-forwarded-client-cert.
const (
	ClientCertSanitize ForwardClientCert = iota
	ClientCertForwardOnly
	ClientCertAppendForward
	ClientCertSanitizeSet
	ClientCertAlwaysForwardOnly
)

// ClientCertDetails is SetCurrentClientCertDetails.
type ClientCertDetails struct{ Subject, Cert, Chain, DNS, URI bool }

// LocalReply is LocalReplyConfig.
type LocalReply struct {
	// Mappers in order; the first whose filter matches applies.
	Mappers []ReplyMapper
	// Body is how bodies are formed; nil takes the reply's own.
	Body *ReplyBody
}

// ReplyMapper is ResponseMapper.
type ReplyMapper struct {
	// Filter is an access log filter as pkg/observe/accesslog decoded it.
	Filter any
	// Status replaces the status; 0 keeps it.
	Status int
	// Text replaces the body when HasText is set.
	Text       string
	HasText    bool
	Body       *ReplyBody // nil: that of the LocalReply
	HeadersAdd []HeaderOption
}

// ReplyBody is how the body of a local reply is formed.
type ReplyBody struct {
	// Format is a SubstitutionFormatString as pkg/observe/accesslog decoded it.
	Format      any
	ContentType string
}

// ProxyStatus is ProxyStatusConfig.
type ProxyStatus struct {
	RemoveDetails, RemoveTerminationDetails, RemoveFlags bool
	// RecommendedStatus replaces the status by the one that RFC 9209 recommends for the error.
	RecommendedStatus bool
	// UseNodeID names this proxy by its node id, Name by a text; neither by the server name.
	UseNodeID bool
	Name      string
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
	// Terminate turns a CONNECT of a route into a TCP connection to the upstream (connect_config); TerminatePost does so
	// with a POST too (allow_post).
	Terminate, TerminatePost bool
}
