package h2

import (
	"errors"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// field is a decoded field with what was found out about it when it was read first: entries of the tables are looked
// at once, however often they are referred to.
type field struct {
	message.Field
	pseudo pseudo
	// badName and badValue tell of characters that no field may have (RFC 9113 section 8.2.1).
	badName, badValue bool
	// underscore is in the name.
	underscore bool
	blanks     int // bytes that were taken off the value
}

// entryOverhead is what an entry of a table counts beside its strings (RFC 7541 section 4.1).
const entryOverhead = 32

// size in bytes, as tables count it.
func (f *field) size() int { return len(f.Name) + len(f.Value) + f.blanks + entryOverhead }

// fieldSink takes decoded fields. Strings of a field live as long as the arena of the call.
type fieldSink interface {
	field(f *field)
}

// decoder decodes HPACK (RFC 7541). Values that enter the table are allocated, all others lie in the caller's arena.
type decoder struct {
	entries []field // a ring; its length is a power of two
	newest  int     // index of the newest entry
	count   int
	size    int // of the entries, in bytes
	max     int // as the peer has set it
	allowed int // bounds max

	scratch arena
	tmp     field
}

// errors of the peer's encoder.
var (
	errHPACKIndex     = errors.New("index beyond the tables")
	errHPACKInteger   = errors.New("integer too large")
	errHPACKTruncated = errors.New("truncated")
	errHPACKSize      = errors.New("table size update is too large or out of place")
)

func newDecoder(tableSize int) decoder { return decoder{max: tableSize, allowed: tableSize} }

// decode reads one whole block and gives its fields to sink, whose literals lie in a.
func (d *decoder) decode(block []byte, a *arena, sink fieldSink) error {
	first := true
	for len(block) > 0 {
		var err error
		switch b := block[0]; {
		case b&0x80 != 0:
			block, err = d.indexed(block, sink)
		case b&0xc0 == 0x40:
			block, err = d.literal(block, 6, a, sink)
		case b&0xe0 == 0x20:
			if !first {
				return errHPACKSize
			}
			if block, err = d.resize(block); err == nil {
				continue
			}
		default:
			block, err = d.literal(block, 4, a, sink)
		}
		if err != nil {
			return err
		}
		first = false
	}
	return nil
}

func (d *decoder) indexed(b []byte, sink fieldSink) ([]byte, error) {
	i, rest, err := readInteger(b, 7)
	if err != nil {
		return nil, err
	}
	f := d.at(i)
	if f == nil {
		return nil, errHPACKIndex
	}
	sink.field(f)
	return rest, nil
}

// at returns an entry of the static or dynamic table; nil when there is none.
func (d *decoder) at(i int) *field {
	switch {
	case i <= 0 || i > staticLen+d.count:
		return nil
	case i <= staticLen:
		return &staticFields[i]
	}
	return &d.entries[(d.newest-(i-staticLen-1))&(len(d.entries)-1)]
}

// literal reads a field with a literal value; bits is the width of the name's index, 6 for those that enter the table.
func (d *decoder) literal(b []byte, bits uint, a *arena, sink fieldSink) ([]byte, error) {
	i, rest, err := readInteger(b, bits)
	if err != nil {
		return nil, err
	}
	keep := bits == 6
	dst := a
	if keep {
		dst = &d.scratch
		dst.reset()
	}
	var known *field
	name := ""
	if i > 0 {
		if known = d.at(i); known == nil {
			return nil, errHPACKIndex
		}
	} else if name, rest, err = readString(rest, dst); err != nil {
		return nil, err
	}
	value, rest, err := readString(rest, dst)
	if err != nil {
		return nil, err
	}
	f := &d.tmp
	if known != nil {
		*f = *known
	} else {
		*f = newName(name)
	}
	if keep {
		own(f, value, known == nil)
	} else {
		f.setValue(value)
	}
	if keep {
		d.add(f)
	}
	sink.field(f)
	return rest, nil
}

// own gives f a value, and if wanted a name, that are not views.
func own(f *field, value string, name bool) {
	if !name || f.ID != message.Other || f.pseudo != notPseudo && f.pseudo != pseudoUnknown {
		f.setValue(clone(value))
		return
	}
	if value == "" { // adding nothing to a string does not copy it
		f.Name = clone(f.Name)
		f.setValue("")
		return
	}
	both := f.Name + value
	f.Name = both[:len(f.Name)]
	f.setValue(both[len(f.Name):])
}

// add puts f into the table.
func (d *decoder) add(f *field) {
	n := f.size()
	for d.count > 0 && d.size+n > d.max {
		d.evict()
	}
	if n > d.max {
		return
	}
	if d.count == len(d.entries) {
		d.grow()
	}
	d.newest = (d.newest + 1) & (len(d.entries) - 1)
	d.entries[d.newest] = *f
	d.count++
	d.size += n
}

func (d *decoder) evict() {
	oldest := &d.entries[(d.newest-d.count+1)&(len(d.entries)-1)]
	d.size -= oldest.size()
	d.count--
	*oldest = field{}
}

func (d *decoder) grow() {
	grown := make([]field, max(16, 2*len(d.entries)))
	for i := range d.count {
		grown[i] = d.entries[(d.newest-d.count+1+i)&(len(d.entries)-1)]
	}
	d.entries, d.newest = grown, d.count-1
}

// resize reads a dynamic table size update (RFC 7541 section 6.3).
func (d *decoder) resize(b []byte) ([]byte, error) {
	n, rest, err := readInteger(b, 5)
	if err != nil {
		return nil, err
	}
	if n > d.allowed {
		return nil, errHPACKSize
	}
	d.max = n
	for d.size > d.max {
		d.evict()
	}
	return rest, nil
}

// readInteger reads an integer with a prefix of some bits (RFC 7541 section 5.1), up to 2^28.
func readInteger(b []byte, bits uint) (n int, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errHPACKTruncated
	}
	mask := 1<<bits - 1
	n = int(b[0]) & mask
	b = b[1:]
	if n < mask {
		return n, b, nil
	}
	for shift := uint(0); ; shift += 7 {
		if len(b) == 0 {
			return 0, nil, errHPACKTruncated
		}
		c := b[0]
		b = b[1:]
		if shift > 21 {
			return 0, nil, errHPACKInteger
		}
		n += int(c&0x7f) << shift
		if c&0x80 == 0 {
			return n, b, nil
		}
	}
}

// readString reads a string literal (RFC 7541 section 5.2) into a.
func readString(b []byte, a *arena) (s string, rest []byte, err error) {
	if len(b) == 0 {
		return "", nil, errHPACKTruncated
	}
	huffman := b[0]&0x80 != 0
	n, b, err := readInteger(b, 7)
	if err != nil {
		return "", nil, err
	}
	if n > len(b) {
		return "", nil, errHPACKTruncated
	}
	if !huffman {
		return a.add(b[:n]), b[n:], nil
	}
	s, err = a.huffman(b[:n])
	return s, b[n:], err
}
