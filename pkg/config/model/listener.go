package model

import (
	"net/netip"
	"time"
)

// Listener is an address that weir serves (envoy.config.listener.v3.Listener).
type Listener struct {
	Resource
	// Message is what a dynamic listener was made of, for whoever shows the versions that drain; nothing here looks into it.
	Message any
	// Address to listen at. Unix sockets have an empty Address and Pipe set.
	Address netip.AddrPort
	// Pipe is the path of a unix domain socket; PipeMode its permissions, 0 for the default.
	Pipe     string
	PipeMode uint32
	// AdditionalAddresses are served like Address.
	AdditionalAddresses []netip.AddrPort
	// StatPrefix replaces the address in statistic names when set.
	StatPrefix string
	// BindToPort false means that connections only come by hand-off (or from the kernel's capture). Default true.
	BindToPort bool
	// UseOriginalDst hands connections over to the listener of their original destination.
	UseOriginalDst bool
	// Transparent, Freebind and TCPBacklog are socket options. TCPBacklog 0 means the system's default.
	Transparent, Freebind bool
	TCPBacklog            int
	// SocketOptions are set on the sockets, in order. AdditionalSocketOptions are those of each of the AdditionalAddresses; nil when
	// they all have the same.
	SocketOptions           []SocketOption
	AdditionalSocketOptions [][]SocketOption
	// IPv4Compat lets an [::] listener take IPv4 connections too.
	IPv4Compat bool
	// PerConnectionBufferLimit bounds the bytes buffered per connection. Default 1 MiB.
	PerConnectionBufferLimit int
	// ListenerFilters run before the filter chain is chosen, in order.
	ListenerFilters []*ListenerFilter
	// ListenerFiltersTimeout bounds all listener filters together; 0 disables. Default 15 s.
	ListenerFiltersTimeout time.Duration
	// ContinueOnListenerFiltersTimeout goes on with what is known instead of closing.
	ContinueOnListenerFiltersTimeout bool
	// FilterChains in configuration order; which one serves a connection is decided by their Match.
	FilterChains []*FilterChain
	// DefaultFilterChain serves what no chain matched; nil closes such connections.
	DefaultFilterChain *FilterChain
	// TrafficDirection as configured.
	TrafficDirection TrafficDirection
	// DrainModifyOnly keeps connections open although the process fails its health checks (drain_type MODIFY_ONLY).
	DrainModifyOnly bool
	// AccessLogs of the listener itself: written for connections that found no filter chain.
	AccessLogs []*AccessLog
	// UDP is how datagrams are received; nil for a listener of connections. Its one listener filter handles the datagrams.
	UDP *UDPSocket
	// IgnoreGlobalLimit keeps the listener's connections out of the bound on those of all listeners together.
	IgnoreGlobalLimit bool
}

// TrafficDirection is envoy.config.core.v3.TrafficDirection.
type TrafficDirection uint8

// Traffic directions.
const (
	TrafficUnspecified TrafficDirection = iota
	TrafficInbound
	TrafficOutbound
)

// FilterChain is one way of serving a connection (envoy.config.listener.v3.FilterChain).
type FilterChain struct {
	// Name as configured; generated when empty and needed for statistics or logs.
	Name string
	// Hash is over the content: a chain with an unchanged hash keeps its connections through a listener update.
	Hash  uint64
	Match FilterChainMatch
	// TLS terminates TLS; nil serves plain text.
	TLS *DownstreamTLS
	// Filters in order; the last one is terminal.
	Filters []*NetworkFilter
	// TransportSocketConnectTimeout bounds the TLS handshake; 0 disables.
	TransportSocketConnectTimeout time.Duration
}

// FilterChainMatch holds the criteria of a chain; empty criteria match everything.
// Precedence: destination port, destination IP, server name, transport protocol, ALPN, direct source IP, source type,
// source IP, source port. There is no back-tracking.
type FilterChainMatch struct {
	DestinationPort      uint32 // 0: any
	PrefixRanges         []netip.Prefix
	ServerNames          []string // lower case; "*.example.com" matches any label before
	TransportProtocol    string   // "", "raw_buffer" or "tls"
	ApplicationProtocols []string
	DirectSourcePrefixes []netip.Prefix
	SourceType           SourceType
	SourcePrefixes       []netip.Prefix
	SourcePorts          []uint32
}

// SourceType is FilterChainMatch.ConnectionSourceType.
type SourceType uint8

// Connection source types.
const (
	SourceAny SourceType = iota
	SourceSameIPOrLoopback
	SourceExternal
)

// NetworkFilter is one L4 filter. Config is *HTTPConnectionManager, *TCPProxy, or what the filter's own package decoded; it is
// nil when Discovery delivers it.
type NetworkFilter struct {
	Name      string
	TypeURL   string
	Config    any
	Discovery *FilterDiscovery
}

// TCPProxy is envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.
type TCPProxy struct {
	StatPrefix string
	// Clusters is one entry for a plain cluster, several for weighted ones. Weights sum to more than 0.
	Clusters []WeightedCluster
	// IdleTimeout closes when no byte flowed either way; 0 disables. Default 1 h.
	IdleTimeout time.Duration
	// MaxConnectAttempts is at least 1.
	MaxConnectAttempts int
	// MaxDownstreamConnectionDuration bounds the life of the connection; 0 is unlimited.
	MaxDownstreamConnectionDuration time.Duration
	AccessLogs                      []*AccessLog
	// HashSourceIP has consistent balancers go by the client's address (hash_policy).
	HashSourceIP bool
	// OnDemand fetches a cluster that is not there; nil closes the connection.
	OnDemand *OnDemandClusters
}

// OnDemandClusters is TcpProxy.OnDemand.
type OnDemandClusters struct {
	Source *Source
	// Timeout bounds the wait of a connection. Default 60 s; 0 does not.
	Timeout time.Duration
}
