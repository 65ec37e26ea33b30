package model

import (
	"net/netip"
	"time"
)

// UDPSocket is how datagrams are received (envoy.config.core.v3.UdpSocketConfig).
type UDPSocket struct {
	// MaxDatagram is the largest datagram in bytes; longer ones are dropped. Default 1500.
	MaxDatagram int
	// GRO lets the kernel hand over several datagrams of one sender at once.
	GRO bool
}

// UDPProxy is envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig.
type UDPProxy struct {
	StatPrefix string
	// Cluster that all sessions go to; empty with a Matcher.
	Cluster string
	// Matcher chooses the cluster, by a *UDPRoute: a tree that package matcher decoded. Nil with a Cluster.
	Matcher any
	// Routes are the actions of Matcher.
	Routes []*UDPRoute
	// IdleTimeout ends a session without datagrams either way. Default 1 min; 0 does not.
	IdleTimeout time.Duration
	// HashSourceIP hashes by the client's address, HashKey, when not empty, by itself.
	HashSourceIP bool
	HashKey      string
	// PerPacket chooses a host for each datagram.
	PerPacket bool
	// UseOriginalSource sends from the client's address, on a port of our own.
	UseOriginalSource bool
	// Upstream is how datagrams of hosts are received; GRO is on by default.
	Upstream UDPSocket
	// AccessLogs are written for sessions, at their end and every AccessLogInterval, 0 for never; ProxyAccessLogs when the
	// listener goes.
	AccessLogs, ProxyAccessLogs []*AccessLog
	AccessLogInterval           time.Duration
}

// UDPRoute is an action of UDPProxy.Matcher.
type UDPRoute struct{ Cluster string }

// UDPPolicy is weir.interception.v1.Udp.Rule.
type UDPPolicy struct {
	Prefix netip.Prefix
	// Ports is empty for all ports.
	Ports  []uint16
	Action UDPAction
	// Rule is the position of the rule that it comes from: one without a prefix makes two policies.
	Rule int
}

// UDPAction is weir.interception.v1.Udp.Action.
type UDPAction uint8

// What happens to a datagram.
const (
	UDPPass UDPAction = iota
	UDPProxied
	UDPRefuse
)
