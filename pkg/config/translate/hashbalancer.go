package translate

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of consistent balancers.
const (
	defaultMinRing = 1024
	maxRing        = 8 << 20
	defaultTable   = 65537
	maxTable       = 5000011
)

// legacyHash translates the options that lb_policy RING_HASH and MAGLEV have in the cluster itself.
func (c *call) legacyHash(m *clusterv3.Cluster, out *model.Cluster) {
	var root *path
	common := m.GetCommonLbConfig().GetConsistentHashingLbConfig()
	out.HashLB.UseHostname = common.GetUseHostnameForHashing()
	out.HashLB.BalanceFactor = common.GetHashBalanceFactor().GetValue()
	if out.LB == model.LBMaglev {
		c.maglev(out, m.GetMaglevLbConfig().GetTableSize(), root.field("maglev_lb_config"))
		return
	}
	ring := m.GetRingHashLbConfig()
	out.HashLB.Murmur = ring.GetHashFunction() == clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2
	c.ring(out, ring.GetMinimumRingSize(), ring.GetMaximumRingSize(), root.field("ring_hash_lb_config"))
}

// ringHash translates the ring hash policy.
func (c *call) ringHash(m *ringv3.RingHash, out *model.Cluster, p *path) {
	out.LB = model.LBRingHash
	//nolint:staticcheck // The deprecated fields count when the common ones are absent.
	out.HashLB.UseHostname, out.HashLB.BalanceFactor = m.GetUseHostnameForHashing(), m.GetHashBalanceFactor().GetValue()
	if common := m.GetConsistentHashingLbConfig(); common != nil {
		consistent(common, out)
	}
	out.HashLB.Murmur = m.GetHashFunction() == ringv3.RingHash_MURMUR_HASH_2
	out.LocalityWeighted = out.LocalityWeighted || m.GetLocalityWeightedLbConfig() != nil
	c.ring(out, m.GetMinimumRingSize(), m.GetMaximumRingSize(), p)
}

// maglevHash translates the Maglev policy.
func (c *call) maglevHash(m *maglevv3.Maglev, out *model.Cluster, p *path) {
	out.LB = model.LBMaglev
	consistent(m.GetConsistentHashingLbConfig(), out)
	out.LocalityWeighted = out.LocalityWeighted || m.GetLocalityWeightedLbConfig() != nil
	c.maglev(out, m.GetTableSize(), p)
}

func consistent(m *commonlbv3.ConsistentHashingLbConfig, out *model.Cluster) {
	out.HashLB.UseHostname, out.HashLB.BalanceFactor = m.GetUseHostnameForHashing(), m.GetHashBalanceFactor().GetValue()
}

// ring fills in the bounds of a ring.
func (c *call) ring(out *model.Cluster, least, most *wrapperspb.UInt64Value, p *path) {
	size := func(v *wrapperspb.UInt64Value, fallback int, name string) int {
		switch {
		case v == nil:
			return fallback
		case v.GetValue() > maxRing:
			c.fail(p.field(name), "value must be less than or equal to %d", maxRing)
		}
		return int(min(v.GetValue(), maxRing))
	}
	out.HashLB.MinRing, out.HashLB.MaxRing = size(least, defaultMinRing, "minimum_ring_size"), size(most, maxRing, "maximum_ring_size")
	if out.HashLB.MinRing > out.HashLB.MaxRing {
		c.fail(p, "ring hash: minimum_ring_size (%d) > maximum_ring_size (%d)", out.HashLB.MinRing, out.HashLB.MaxRing)
	}
}

// maglev fills in the size of a table.
func (c *call) maglev(out *model.Cluster, size *wrapperspb.UInt64Value, p *path) {
	out.HashLB.TableSize = defaultTable
	if size == nil {
		return
	}
	at := p.field("table_size")
	switch n := size.GetValue(); {
	case n > maxTable:
		c.fail(at, "value must be less than or equal to %d", maxTable)
	case !isPrime(n):
		c.fail(at, "The table size of maglev must be prime number")
	default:
		out.HashLB.TableSize = int(n)
	}
}

// isPrime tells whether a small number is prime.
func isPrime(n uint64) bool {
	if n < 2 {
		return false
	}
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}
