// Package streaminfo holds what is known about a connection and a stream: the facts that access logs, statistics and
// tracing are fed from.
//
// It owns plain data and the response flags. It must not know codecs, filters or configuration. A value is written by
// the goroutine that serves the stream and read by it (access log) at the end; byte counts of connections are atomics.
package streaminfo

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net/netip"
	"sync/atomic"
	"time"
)

// Connection is what is known about a downstream connection. Filled before the first filter runs.
type Connection struct {
	// ID is unique within the process.
	ID uint64
	// Start is when it was accepted.
	Start time.Time
	// Local is the address the client meant: the original destination for captured connections.
	Local netip.AddrPort
	// BoundLocal is the address of the socket itself.
	BoundLocal netip.AddrPort
	// Remote is the client as filters may have changed it (PROXY protocol); DirectRemote is the socket's peer, or for captured
	// connections the address that the client would have had without weir.
	Remote, DirectRemote netip.AddrPort
	// OriginalDst is set when the original destination was restored.
	OriginalDst netip.AddrPort
	// Inbound tells that it was captured on its way to an application on this host.
	Inbound bool
	// Source is what upstreams are to see as the client, when a listener filter says so.
	Source Source
	// ServerName, TransportProtocol ("raw_buffer" or "tls") and ALPN as detected by listener filters.
	ServerName, TransportProtocol string
	ALPN                          []string
	// TLS is set once the handshake is done.
	TLS *tls.ConnectionState
	// LocalCertificate is the certificate that we presented; nil without TLS.
	LocalCertificate *x509.Certificate
	// PeerValidated tells that the client's certificate, if it gave one, was checked against trusted ones.
	PeerValidated bool
	// Namespace is where the application lives that it was captured from; nil for weir's own network namespace.
	Namespace *Namespace
	// Cgroup is that of the process that it was captured from on its way out.
	Cgroup Cgroup
	// Listener and FilterChain are the names of what serves it.
	Listener, FilterChain string
	// TrafficDirection is "INBOUND", "OUTBOUND" or "UNSPECIFIED".
	TrafficDirection string
	// TransportFailure says why the TLS handshake did not succeed.
	TransportFailure string
	// TerminationDetails says why the connection was closed by us.
	TerminationDetails string
	// Dynamic metadata that network filters have set: filter name -> values; nil until one does.
	Dynamic map[string]map[string]any
	// Latest is where its latest stream went.
	Latest Latest
	// RxBytes and TxBytes count wire bytes as seen by the socket.
	RxBytes, TxBytes atomic.Uint64
}

// SetDynamic adds values to the connection's dynamic metadata of a filter.
func (c *Connection) SetDynamic(filter string, values map[string]any) {
	if c.Dynamic == nil {
		c.Dynamic = map[string]map[string]any{}
	}
	if c.Dynamic[filter] == nil {
		c.Dynamic[filter] = map[string]any{}
	}
	maps.Copy(c.Dynamic[filter], values)
}

// Upstream is what is known about the upstream side of a stream.
type Upstream struct {
	// Host is the chosen address; the zero value when none was.
	Host netip.AddrPort
	// Pipe is set instead for unix sockets.
	Pipe string
	// Hostname as configured.
	Hostname string
	// Local is our address of the connection.
	Local netip.AddrPort
	// Cluster is the name in statistics (alt_stat_name), ClusterRaw the configured one.
	Cluster, ClusterRaw string
	// ConnectionID is unique within the process; 0 when there was none.
	ConnectionID     uint64
	TLS              *tls.ConnectionState
	TransportFailure string
	// Protocol of the upstream request.
	Protocol     string
	AttemptCount uint32
	// WireSent and WireReceived are bytes of this stream's exchange, HeaderSent and HeaderReceived of its heads.
	WireSent, WireReceived, HeaderSent, HeaderReceived uint64
}

// Timing holds nanoseconds since Info.Start; 0 means "not reached".
type Timing struct {
	LastDownstreamRx                     int64 // request fully received
	FirstUpstreamTx, LastUpstreamTx      int64
	FirstUpstreamRx, LastUpstreamRx      int64
	FirstDownstreamTx, LastDownstreamTx  int64
	UpstreamConnected, UpstreamHandshake int64
}

// Info is what is known about one stream: a request, or a TCP connection that is proxied as such.
type Info struct {
	Conn *Connection
	// Client is the client's address as forwarding headers tell it, with port 0; the zero value takes the connection's.
	Client netip.AddrPort
	// StreamID is unique within the process.
	StreamID uint64
	// Start is when the first byte of the request was seen; it holds a monotonic reading.
	Start  time.Time
	Timing Timing
	// Protocol is "HTTP/1.1" and the like; "" for TCP.
	Protocol string
	// ResponseCode is 0 when none was sent.
	ResponseCode int
	// Details is Envoy's response code details, such as via_upstream.
	Details string
	Flags   Flags
	// BytesReceived and BytesSent count body bytes (TCP: payload bytes) from and to the downstream.
	BytesReceived, BytesSent uint64
	// Header bytes of the downstream side.
	RequestHeaderBytes, ResponseHeaderBytes, ResponseTrailerBytes uint64
	Upstream                                                      Upstream
	RouteName, VirtualHost, VirtualCluster                        string
	// LocalReplyBody is what we answered ourselves.
	LocalReplyBody string
	// Dynamic metadata: filter name -> values; nil until a filter sets some.
	Dynamic map[string]map[string]any
	// FilterState: key -> value; nil until something sets some.
	FilterState map[string]any
	// HealthCheck tells a request that only asks whether this proxy is well.
	HealthCheck bool
	// Duration is set at the end of the stream.
	Duration time.Duration
}

// Since returns the nanoseconds from the start of the stream until t, at least 1, for use in Timing.
func (i *Info) Since(t time.Time) int64 { return max(1, int64(t.Sub(i.Start))) }

// ClientAddr is the client's address as forwarding headers tell it, else that of the connection; it may be invalid. i may be
// nil.
func (i *Info) ClientAddr() netip.Addr {
	switch {
	case i == nil:
		return netip.Addr{}
	case i.Client.IsValid():
		return i.Client.Addr()
	case i.Conn != nil:
		return i.Conn.Remote.Addr()
	}
	return netip.Addr{}
}

// Reset empties the info for reuse.
func (i *Info) Reset() { *i = Info{} }
