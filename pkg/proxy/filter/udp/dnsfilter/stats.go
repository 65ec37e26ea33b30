package dnsfilter

import (
	"golang.org/x/net/dns/dnsmessage"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// counters are dns_filter.<stat_prefix>.*.
type counters struct {
	queries, invalid, known, unanswered, resolved, responses    *stats.Counter
	underflow, unparsed, otherRecords, additional, nameOverflow *stats.Counter
	asked, cluster, local, forwarded, external                  byType
	rxBytes, txBytes, latency                                   *stats.Histogram
}

// byType are counters of records by their type.
type byType struct{ a, aaaa, srv, other *stats.Counter }

func (b *byType) of(t dnsmessage.Type) *stats.Counter {
	switch t {
	case dnsmessage.TypeA:
		return b.a
	case dnsmessage.TypeAAAA:
		return b.aaaa
	case dnsmessage.TypeSRV:
		return b.srv
	}
	return b.other
}

func newCounters(s *stats.Scope) counters {
	s.Counter("downstream_rx_errors") // errors of a listener's socket are the listener's
	// Envoy has no counters for SRV of other servers, nor for what it does not support in some places.
	records := func(prefix, suffix, other string, srv bool) byType {
		b := byType{a: s.Counter(prefix + "a_record_" + suffix), aaaa: s.Counter(prefix + "aaaa_record_" + suffix), other: s.Counter(other)}
		if b.srv = b.other; srv {
			b.srv = s.Counter(prefix + "srv_record_" + suffix)
		}
		return b
	}
	return counters{
		queries: s.Counter("downstream_rx_queries"), invalid: s.Counter("downstream_rx_invalid_queries"), known: s.Counter("known_domain_queries"),
		unanswered: s.Counter("unanswered_queries"), resolved: s.Counter("externally_resolved_queries"), responses: s.Counter("downstream_tx_responses"),
		underflow: s.Counter("query_buffer_underflow"), unparsed: s.Counter("query_parsing_failure"),
		otherRecords: s.Counter("queries_with_ans_or_authority_rrs"), additional: s.Counter("queries_with_additional_rrs"),
		nameOverflow: s.Counter("record_name_overflow"),
		asked:        records("", "queries", "unsupported_queries", true),
		cluster:      records("cluster_", "answers", "cluster_unsupported_answers", true),
		local:        records("local_", "answers", "local_unsupported_answers", true),
		forwarded:    records("external_", "queries", "external_unsupported_queries", false),
		external:     records("external_", "answers", "external_unsupported_answers", false),
		rxBytes:      s.Histogram("downstream_rx_bytes", stats.Bytes), txBytes: s.Histogram("downstream_tx_bytes", stats.Bytes),
		latency: s.Histogram("downstream_rx_query_latency", stats.Milliseconds),
	}
}
