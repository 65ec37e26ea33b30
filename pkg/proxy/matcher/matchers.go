package matcher

import (
	"fmt"
	"net/netip"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// ipRanges is envoy.matching.matchers.ip.
type ipRanges struct{ prefixes []netip.Prefix }

func (m *ipRanges) Match(v Value, _ *Data) bool {
	if !v.Present {
		return false
	}
	addr, err := netip.ParseAddr(v.Text)
	return err == nil && match.Prefixes(m.prefixes, addr.Unmap().WithZone(""))
}

func (m *ipRanges) String() string { return fmt.Sprint("in ", m.prefixes) }

// metadataValue is envoy.matching.matchers.metadata_matcher.
type metadataValue struct {
	value  model.ValueMatcher
	invert bool
}

func (m *metadataValue) Match(v Value, _ *Data) bool {
	s, ok := v.Any.(structured)
	return (v.Present && ok && match.Value(&m.value, s.value)) != m.invert
}

func (m *metadataValue) String() string {
	return fmt.Sprintf("accepted by metadata matcher %+v (inverted: %t)", m.value, m.invert)
}

// consistentHash is envoy.matching.matchers.consistent_hashing: the hash of the value modulo a number is at least a threshold.
type consistentHash struct {
	threshold, modulo, seed uint64
}

func (m *consistentHash) Match(v Value, _ *Data) bool {
	return v.Present && v.Any == nil && hashOf(v.Text, m.seed)%m.modulo >= m.threshold
}

func (m *consistentHash) String() string {
	return fmt.Sprintf("hashed with %d modulo %d is at least %d", m.seed, m.modulo, m.threshold)
}

// runtimeFraction is envoy.matching.matchers.runtime_fraction: the hash of the value decides whether it is among a fraction.
type runtimeFraction struct {
	fraction model.Fraction
	seed     uint64
}

func (m *runtimeFraction) Match(v Value, d *Data) bool {
	if !v.Present || v.Any != nil {
		return false
	}
	return d.Runtime.Drawn(&m.fraction, hashOf(v.Text, m.seed))
}

func (m *runtimeFraction) String() string {
	return fmt.Sprintf("hashed with %d among %d of %d (runtime key %q)", m.seed, m.fraction.Numerator, m.fraction.Denominator, m.fraction.RuntimeKey)
}

// Hash is Envoy's hash of a text (xxHash64 without a seed).
func Hash(s string) uint64 { return hashOf(s, 0) }

func hashOf(s string, seed uint64) uint64 {
	var h xxhash.Digest
	h.ResetWithSeed(seed)
	_, _ = h.WriteString(s)
	return h.Sum64()
}
