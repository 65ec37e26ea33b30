package message

// ID names a well-known header, so that the hot path compares numbers.
type ID uint8

// Well-known headers: those that weir itself reads, writes or removes.
const (
	Other ID = iota // any other name
	Accept
	AcceptEncoding
	AccessControlRequestMethod
	Age
	Allow
	Authorization
	CacheControl
	Connection
	ContentEncoding
	ContentLength
	ContentType
	Cookie
	Date
	EarlyData
	ETag
	Expect
	Forwarded
	GRPCAcceptEncoding
	GRPCMessage
	GRPCStatus
	GRPCTimeout
	Host
	HTTP2Settings
	KeepAlive
	LastModified
	Location
	MaxForwards
	Origin
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	ProxyStatus
	Range
	Referer
	RetryAfter
	Server
	SetCookie
	TE
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Vary
	Via
	WWWAuthenticate
	XClientTraceID
	XEnvoyAttemptCount
	XEnvoyDecoratorOperation
	XEnvoyDownstreamServiceCluster
	XEnvoyDownstreamServiceNode
	XEnvoyExpectedRQTimeoutMS
	XEnvoyExternalAddress
	XEnvoyForceTrace
	XEnvoyHedgeOnPerTryTimeout
	XEnvoyImmediateHealthCheckFail
	XEnvoyInternal
	XEnvoyIPTags
	XEnvoyIsTimeoutRetry
	XEnvoyMaxRetries
	XEnvoyOriginalDstHost
	XEnvoyOriginalHost
	XEnvoyOriginalPath
	XEnvoyOriginalURL
	XEnvoyOverloaded
	XEnvoyRatelimited
	XEnvoyRetriableHeaderNames
	XEnvoyRetriableStatusCodes
	XEnvoyRetryGRPCOn
	XEnvoyRetryOn
	XEnvoyUpstreamAltStatName
	XEnvoyUpstreamCanary
	XEnvoyUpstreamRQPerTryTimeoutMS
	XEnvoyUpstreamRQTimeoutAltResponse
	XEnvoyUpstreamRQTimeoutMS
	XEnvoyUpstreamServiceTime
	XEnvoyUpstreamStreamDurationMS
	XForwardedClientCert
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XRequestID
	idCount
)

// idNames is indexed by ID; read only.
var idNames = [idCount]string{
	Accept:                             "accept",
	AcceptEncoding:                     "accept-encoding",
	AccessControlRequestMethod:         "access-control-request-method",
	Age:                                "age",
	Allow:                              "allow",
	Authorization:                      "authorization",
	CacheControl:                       "cache-control",
	Connection:                         "connection",
	ContentEncoding:                    "content-encoding",
	ContentLength:                      "content-length",
	ContentType:                        "content-type",
	Cookie:                             "cookie",
	Date:                               "date",
	EarlyData:                          "early-data",
	ETag:                               "etag",
	Expect:                             "expect",
	Forwarded:                          "forwarded",
	GRPCAcceptEncoding:                 "grpc-accept-encoding",
	GRPCMessage:                        "grpc-message",
	GRPCStatus:                         "grpc-status",
	GRPCTimeout:                        "grpc-timeout",
	Host:                               "host",
	HTTP2Settings:                      "http2-settings",
	KeepAlive:                          "keep-alive",
	LastModified:                       "last-modified",
	Location:                           "location",
	MaxForwards:                        "max-forwards",
	Origin:                             "origin",
	ProxyAuthenticate:                  "proxy-authenticate",
	ProxyAuthorization:                 "proxy-authorization",
	ProxyConnection:                    "proxy-connection",
	ProxyStatus:                        "proxy-status",
	Range:                              "range",
	Referer:                            "referer",
	RetryAfter:                         "retry-after",
	Server:                             "server",
	SetCookie:                          "set-cookie",
	TE:                                 "te",
	Trailer:                            "trailer",
	TransferEncoding:                   "transfer-encoding",
	Upgrade:                            "upgrade",
	UserAgent:                          "user-agent",
	Vary:                               "vary",
	Via:                                "via",
	WWWAuthenticate:                    "www-authenticate",
	XClientTraceID:                     "x-client-trace-id",
	XEnvoyAttemptCount:                 "x-envoy-attempt-count",
	XEnvoyDecoratorOperation:           "x-envoy-decorator-operation",
	XEnvoyDownstreamServiceCluster:     "x-envoy-downstream-service-cluster",
	XEnvoyDownstreamServiceNode:        "x-envoy-downstream-service-node",
	XEnvoyExpectedRQTimeoutMS:          "x-envoy-expected-rq-timeout-ms",
	XEnvoyExternalAddress:              "x-envoy-external-address",
	XEnvoyForceTrace:                   "x-envoy-force-trace",
	XEnvoyHedgeOnPerTryTimeout:         "x-envoy-hedge-on-per-try-timeout",
	XEnvoyImmediateHealthCheckFail:     "x-envoy-immediate-health-check-fail",
	XEnvoyInternal:                     "x-envoy-internal",
	XEnvoyIPTags:                       "x-envoy-ip-tags",
	XEnvoyIsTimeoutRetry:               "x-envoy-is-timeout-retry",
	XEnvoyMaxRetries:                   "x-envoy-max-retries",
	XEnvoyOriginalDstHost:              "x-envoy-original-dst-host",
	XEnvoyOriginalHost:                 "x-envoy-original-host",
	XEnvoyOriginalPath:                 "x-envoy-original-path",
	XEnvoyOriginalURL:                  "x-envoy-original-url",
	XEnvoyOverloaded:                   "x-envoy-overloaded",
	XEnvoyRatelimited:                  "x-envoy-ratelimited",
	XEnvoyRetriableHeaderNames:         "x-envoy-retriable-header-names",
	XEnvoyRetriableStatusCodes:         "x-envoy-retriable-status-codes",
	XEnvoyRetryGRPCOn:                  "x-envoy-retry-grpc-on",
	XEnvoyRetryOn:                      "x-envoy-retry-on",
	XEnvoyUpstreamAltStatName:          "x-envoy-upstream-alt-stat-name",
	XEnvoyUpstreamCanary:               "x-envoy-upstream-canary",
	XEnvoyUpstreamRQPerTryTimeoutMS:    "x-envoy-upstream-rq-per-try-timeout-ms",
	XEnvoyUpstreamRQTimeoutAltResponse: "x-envoy-upstream-rq-timeout-alt-response",
	XEnvoyUpstreamRQTimeoutMS:          "x-envoy-upstream-rq-timeout-ms",
	XEnvoyUpstreamServiceTime:          "x-envoy-upstream-service-time",
	XEnvoyUpstreamStreamDurationMS:     "x-envoy-upstream-stream-duration-ms",
	XForwardedClientCert:               "x-forwarded-client-cert",
	XForwardedFor:                      "x-forwarded-for",
	XForwardedHost:                     "x-forwarded-host",
	XForwardedPort:                     "x-forwarded-port",
	XForwardedProto:                    "x-forwarded-proto",
	XRequestID:                         "x-request-id",
}

// Name is the lower-case name of a well-known header, "" for Other.
func (id ID) Name() string { return idNames[id] }
