package lb

import (
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// appendRingName appends what the n-th entry of a host is hashed by.
func appendRingName(b []byte, key string, n int) []byte {
	b = append(b, key...)
	b = append(b, '_')
	return strconv.AppendInt(b, int64(n), 10)
}

// seeded64 is xxHash64 with a seed.
func seeded64(s string, seed uint64) uint64 {
	d := xxhash.NewWithSeed(seed)
	_, _ = d.WriteString(s)
	return d.Sum64()
}

// murmurSeed is the seed of the C++ library's std::hash, which Envoy's MURMUR_HASH_2 stays compatible with.
const murmurSeed = 0xc70f6907

// murmur2 is MurmurHash2 for 64-bit platforms (64A) with the seed of std::hash, over little-endian words.
func murmur2(p []byte) uint64 {
	const mul, shift = 0xc6a4a7935bd1e995, 47
	mix := func(v uint64) uint64 { return v ^ v>>shift }
	h := uint64(murmurSeed) ^ uint64(len(p))*mul
	for ; len(p) >= 8; p = p[8:] {
		h = (h ^ mix(binary.LittleEndian.Uint64(p)*mul)*mul) * mul
	}
	if len(p) > 0 {
		var tail [8]byte
		copy(tail[:], p)
		h = (h ^ binary.LittleEndian.Uint64(tail[:])) * mul
	}
	return mix(mix(h) * mul)
}

// mt19937 is the Mersenne Twister (Matsumoto and Nishimura, 1998), whose sequence decides where the requests of an
// overloaded host go, so that they go to the same hosts in each proxy.
type mt19937 struct {
	state [624]uint32
	at    int
}

func (m *mt19937) seed(s uint32) {
	m.state[0] = s
	for i := 1; i < len(m.state); i++ {
		m.state[i] = 1812433253*(m.state[i-1]^m.state[i-1]>>30) + uint32(i)
	}
	m.at = len(m.state)
}

func (m *mt19937) next() uint32 {
	if m.at == len(m.state) {
		m.twist()
	}
	y := m.state[m.at]
	m.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

func (m *mt19937) twist() {
	const n, half = len(m.state), 397
	for i := range m.state {
		y := m.state[i]&0x80000000 | m.state[(i+1)%n]&0x7fffffff
		v := m.state[(i+half)%n] ^ y>>1
		if y&1 != 0 {
			v ^= 0x9908b0df
		}
		m.state[i] = v
	}
	m.at = 0
}

// below draws a number below k evenly.
func (m *mt19937) below(k uint32) uint32 {
	slice := (uint64(1) << 32) / uint64(k)
	for {
		if x := uint64(m.next()) / slice; x < uint64(k) {
			return uint32(x)
		}
	}
}
