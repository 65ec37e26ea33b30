package model

import (
	"net/netip"
	"time"
)

// DNSFilter is envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig.
type DNSFilter struct {
	StatPrefix string
	Domains    []DNSDomain
	// Retries is how often another server is asked again that did not answer, 0 to 3.
	Retries int
	// CaseInsensitive looks names up without regard to case.
	CaseInsensitive bool
	// Forward is how names are looked up that are in no domain; nil refuses them.
	Forward *DNSForward
	// AccessLogs are written for each question.
	AccessLogs []*AccessLog
}

// DNSDomain is a name that is answered for, by exactly one of Addresses, Cluster and Services.
type DNSDomain struct {
	// Name is without a dot at the end; "*." in front stands for one or more labels.
	Name string
	// TTL of the answers, at least 30 s. Default 300 s.
	TTL       time.Duration
	Addresses []netip.Addr
	// Cluster has the hosts whose addresses are the answer.
	Cluster  string
	Services []DNSService
}

// DNSService is answered to questions for SRV records.
type DNSService struct {
	// Name is complete, such as _sip._tcp.voip.example.com.
	Name    string
	TTL     time.Duration
	Targets []DNSTarget
}

// DNSTarget is where a service is, at a name of one of the domains or at the hosts of a cluster.
type DNSTarget struct {
	Host, Cluster string
	// Port 0 of a cluster stands for the port of each host.
	Priority, Weight, Port uint16
}

// DNSForward is how other servers are asked.
type DNSForward struct {
	// Timeout of one attempt. Default 500 ms, else at least 1 s.
	Timeout time.Duration
	// MaxPending is how many names are looked up at a time, at least 1.
	MaxPending uint64
	// Resolver says whom to ask; only its Servers, TCP and NoSearch are set.
	Resolver DNS
}
