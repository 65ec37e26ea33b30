package intercept

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// covered is weir_covered: bits for the destinations that something in the kernel's maps is for. It is guarded by Interceptor.mu.
type covered struct {
	*ebpf.Map
	// users counts what each bit that is set is set for; words are those of the map that have such bits.
	users map[uint32]int
	words map[uint32]uint64
}

func newCovered(m *ebpf.Map) *covered {
	return &covered{m, make(map[uint32]int), make(map[uint32]uint64)}
}

// wordBits is how many bits a word of the map has.
const wordBits = 64

// coveringBit is that of destinations whose address begins with a byte, as covering_bit() in bpf/decide.h has it. The port is 0 for what is
// for any.
func coveringBit(v4 bool, first byte, port uint16) uint32 {
	word := uint32(first)<<16 | uint32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port)))
	if v4 {
		word |= 1 << 24
	}
	return word * 0x9e3779b1 >> 16
}

// each calls f with the bits of a prefix, until it fails.
func (c *covered) each(p netip.Prefix, port uint16, f func(bit uint32) error) error {
	first := int(p.Addr().AsSlice()[0])
	for n := range 1 << max(0, 8-p.Bits()) {
		if err := f(coveringBit(p.Addr().Is4(), byte(first+n), port)); err != nil {
			return err
		}
	}
	return nil
}

// add is to be called before something for the prefix and port is written to a map. On errors nothing has been added.
func (c *covered) add(p netip.Prefix, port uint16) error {
	var added []uint32
	err := c.each(p, port, func(bit uint32) error {
		if c.users[bit] == 0 {
			if err := c.write(bit/wordBits, c.words[bit/wordBits]|1<<(bit%wordBits)); err != nil {
				return err
			}
		}
		c.users[bit]++
		added = append(added, bit)
		return nil
	})
	if err == nil {
		return nil
	}
	for _, bit := range added {
		err = errors.Join(err, c.release(bit))
	}
	return err
}

// remove is to be called when something for the prefix and port is no longer in a map.
func (c *covered) remove(p netip.Prefix, port uint16) error { return c.each(p, port, c.release) }

func (c *covered) release(bit uint32) error {
	if c.users[bit]--; c.users[bit] > 0 {
		return nil
	}
	delete(c.users, bit)
	return c.write(bit/wordBits, c.words[bit/wordBits]&^(1<<(bit%wordBits)))
}

func (c *covered) write(at uint32, word uint64) error {
	if err := c.Put(at, word); err != nil {
		return fmt.Errorf("note which destinations are covered: %w", err)
	}
	c.words[at] = word
	return nil
}

// sockets are the destinations of capture sockets.
func (c *covered) sockets(s *wireSockets, f func(netip.Prefix, uint16) error) error {
	var failed []error
	for _, e := range []*wireEndpoint{&s.Capture4, &s.Capture6} {
		if e.Present != 0 {
			at := addrPort(e.Addr, e.Port)
			failed = append(failed, f(netip.PrefixFrom(at.Addr(), at.Addr().BitLen()), at.Port()))
		}
	}
	return errors.Join(failed...)
}
