package lb

import (
	"cmp"
	"iter"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// HashShape describes what a consistent balancer built, for statistics. Least and Most are the entries of the host that
// has the fewest and the most of them.
type HashShape struct {
	Size, Least, Most int
}

// hasher maps a hash to a host. attempt above 0 asks for another one than before, as far as there is one.
type hasher interface {
	choose(hash uint64, attempt int) *upstream.Host
	shape() HashShape
	// spans yields hosts with parts of the hashes that are theirs, a host maybe several times; all parts sum up to 1.
	spans() iter.Seq2[*upstream.Host, float64]
	// slots is the table of Maglev, nil with a ring.
	slots() []*upstream.Host
}

// share is a host with its part of the traffic; the parts sum up to 1, or to less when localities have nobody.
type share struct {
	host *upstream.Host
	key  string
	part float64
}

// newHasher makes the ring or table over the eligible ones of all hosts of a priority; nil when none of them may have traffic.
func newHasher(eligible, all []*upstream.Host, opt *Options) hasher {
	shares := normalize(eligible, all, opt)
	if len(shares) == 0 {
		return nil
	}
	var h hasher
	if opt.Policy == model.LBMaglev {
		h = newMaglev(shares, &opt.Hash)
	} else {
		h = newRing(shares, &opt.Hash)
	}
	if opt.Hash.BalanceFactor > 0 {
		return newBounded(h, shares, opt)
	}
	return h
}

// normalize gives each host its part of the traffic by its weight and, when that is heeded, by the weight of its locality,
// whose availability does not matter here (as in Envoy).
func normalize(eligible, all []*upstream.Host, opt *Options) []share {
	weighted := opt.LocalityWeighted && slices.ContainsFunc(all, func(h *upstream.Host) bool { return h.Locality != nil })
	place := func(h *upstream.Host) *model.Locality {
		if weighted {
			return h.Locality
		}
		return nil
	}
	localities := uint64(0)
	seen := make(map[*model.Locality]bool)
	for _, h := range all {
		if l := place(h); l != nil && !seen[l] {
			seen[l] = true
			localities += uint64(l.Weight)
		}
	}
	inLocality := make(map[*model.Locality]uint64)
	for _, h := range eligible {
		inLocality[place(h)] += uint64(max(1, h.Weight))
	}
	shares := make([]share, 0, len(eligible))
	for _, h := range eligible {
		whole, l := 1.0, place(h)
		if weighted {
			if l == nil || l.Weight == 0 {
				continue
			}
			whole = float64(l.Weight) / float64(localities)
		}
		part := float64(max(1, h.Weight)) * whole / float64(inLocality[l])
		shares = append(shares, share{host: h, key: hashKey(h, opt.Hash.UseHostname), part: part})
	}
	return shares
}

// hashKey is what a host is known by on a ring: its hash_key of the metadata envoy.lb, else its host name when that is
// asked for, else its address.
func hashKey(h *upstream.Host, hostname bool) string {
	if h.Endpoint != nil {
		if key, ok := h.Endpoint.Metadata["envoy.lb"]["hash_key"].(string); ok {
			return key
		}
	}
	if hostname {
		return h.Hostname
	}
	return h.Name()
}

func parts(shares []share) (least, most float64) {
	least = 1
	for i := range shares {
		least, most = min(least, shares[i].part), max(most, shares[i].part)
	}
	return least, most
}

// ring is a ketama ring: the host of the first entry at or after a hash has it.
type ring struct {
	entries []ringEntry
	built   HashShape
}

type ringEntry struct {
	hash uint64
	host *upstream.Host
}

// newRing puts each host on the ring in proportion to its part: so often that the one with the least comes to a whole
// number of entries and the ring to its minimum size. What is not whole elsewhere is carried on from host to host.
func newRing(shares []share, opt *model.HashBalancer) *ring {
	least, _ := parts(shares)
	scale := min(math.Ceil(least*float64(opt.MinRing))/least, float64(opt.MaxRing))
	size := int(math.Ceil(scale))
	r := &ring{entries: make([]ringEntry, 0, size)}
	hash := xxhash.Sum64
	if opt.Murmur {
		hash = murmur2
	}
	r.built = HashShape{Least: size}
	target, done := 0.0, 0.0
	var name []byte
	for i := range shares {
		target += scale * shares[i].part
		n := 0
		for ; done < target; done++ {
			name = appendRingName(name[:0], shares[i].key, n)
			r.entries = append(r.entries, ringEntry{hash(name), shares[i].host})
			n++
		}
		r.built.Least, r.built.Most = min(r.built.Least, n), max(r.built.Most, n)
	}
	slices.SortFunc(r.entries, func(a, b ringEntry) int { return cmp.Compare(a.hash, b.hash) })
	r.built.Size = len(r.entries)
	return r
}

// choose implements hasher.
func (r *ring) choose(hash uint64, attempt int) *upstream.Host {
	low, high := 0, len(r.entries)
	for low < high {
		if mid := int(uint(low+high) >> 1); r.entries[mid].hash < hash {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return r.entries[(low+attempt)%len(r.entries)].host
}

func (r *ring) shape() HashShape { return r.built }

// spans implements hasher: an entry has what lies between the entry before and itself.
func (r *ring) spans() iter.Seq2[*upstream.Host, float64] {
	return func(yield func(*upstream.Host, float64) bool) {
		if len(r.entries) == 1 {
			yield(r.entries[0].host, 1)
			return
		}
		before := r.entries[len(r.entries)-1].hash
		for _, e := range r.entries {
			if !yield(e.host, float64(e.hash-before)/(1<<64)) {
				return
			}
			before = e.hash
		}
	}
}

func (r *ring) slots() []*upstream.Host { return nil }

// maglev is the table of the paper "Maglev: A Fast and Reliable Software Network Load Balancer", section 3.4, with
// weights.
type maglev struct {
	table []*upstream.Host
	built HashShape
}

// preference is the order in which a host wants the slots of the table.
type preference struct {
	host         *upstream.Host
	offset, skip uint64
	next         uint64
	part, target float64
	slots        int
}

func newMaglev(shares []share, opt *model.HashBalancer) *maglev {
	size := uint64(opt.TableSize)
	ordered := slices.Clone(shares)
	slices.SortStableFunc(ordered, func(a, b share) int { return cmp.Compare(a.key, b.key) })
	_, most := parts(shares)
	prefs := make([]preference, len(ordered))
	for i, s := range ordered {
		prefs[i] = preference{host: s.host, offset: xxhash.Sum64String(s.key) % size, skip: seeded64(s.key, 1)%(size-1) + 1, part: s.part}
	}
	m := &maglev{table: make([]*upstream.Host, size)}
	for turn, filled := 1, uint64(0); filled < size; turn++ {
		for i := range prefs {
			p := &prefs[i]
			// The host with the greatest part takes a slot in each turn, another one when its part has added up to that.
			if filled == size || float64(turn)*p.part < p.target {
				continue
			}
			p.target += most
			m.place(p)
			filled++
		}
	}
	m.built = HashShape{Size: int(size), Least: int(size)}
	for i := range prefs {
		m.built.Least, m.built.Most = min(m.built.Least, prefs[i].slots), max(m.built.Most, prefs[i].slots)
	}
	return m
}

// place gives a host the first free slot that it prefers.
func (m *maglev) place(p *preference) {
	size := uint64(len(m.table))
	for {
		slot := (p.offset + p.skip*p.next) % size
		p.next++
		if m.table[slot] == nil {
			m.table[slot] = p.host
			p.slots++
			return
		}
	}
}

// choose implements hasher.
func (m *maglev) choose(hash uint64, attempt int) *upstream.Host {
	if attempt > 0 {
		hash ^= ^uint64(0) - uint64(attempt) + 1
	}
	return m.table[hash%uint64(len(m.table))]
}

func (m *maglev) shape() HashShape { return m.built }

// spans implements hasher.
func (m *maglev) spans() iter.Seq2[*upstream.Host, float64] {
	return func(yield func(*upstream.Host, float64) bool) {
		for _, h := range m.table {
			if !yield(h, 1/float64(len(m.table))) {
				return
			}
		}
	}
}

func (m *maglev) slots() []*upstream.Host { return m.table }
