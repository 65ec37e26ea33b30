package h2

import (
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// maxEncoderTable bounds the encoder's table in bytes, whatever the peer offers: the protocol's default.
const maxEncoderTable = 4096

// encSlots is the number of places where the encoder looks for names that are not well known, and encIDs that of those that
// are; more of the latter are treated like the former.
const (
	encSlots = 64
	encIDs   = 128
)

// encoder encodes HPACK (RFC 7541). It copies what enters its table into memory of its own, which it reuses, so that
// it neither allocates nor holds views of anybody's buffers. For each name it remembers the newest entry alone: fields
// repeat the value they had last or change all the time, and those that change are soon not put into the table any more.
// Only strings that enter the table are Huffman coded: for the others time counts more than bytes.
type encoder struct {
	entries []encEntry // a ring by sequence number; its length is a power of two
	seq     uint32     // of the newest entry; the first has 1
	count   uint32
	size    int
	max     int  // of the table in bytes
	least   int  // smallest max since the last block
	changed bool // max, which the next block must tell
	bad     bool // a field was left out since the last block began, as it cannot be sent

	ids     [encIDs]encSlot
	pseudos [pseudoCount]encSlot
	others  [encSlots]encSlot
}

// encEntry is an entry of the table: name and value one behind the other.
type encEntry struct {
	b    []byte
	name int // length of the name
}

func (e *encEntry) size() int { return len(e.b) + entryOverhead }

// encSlot is what the encoder remembers of a name.
type encSlot struct {
	seq    uint32 // of its newest entry, 0 before the first
	misses uint8  // values in a row that were not the entry's
}

// After patience new values in a row, only one of retry enters the table.
const (
	patience = 4
	retry    = 32
)

func (e *encoder) init() { e.max = maxEncoderTable }

// setMax takes the peer's SETTINGS_HEADER_TABLE_SIZE or our own bound.
func (e *encoder) setMax(n uint32) {
	size := int(min(n, maxEncoderTable))
	if size == e.max {
		return
	}
	if !e.changed {
		e.least = size
	}
	e.max, e.least, e.changed = size, min(e.least, size), true
	e.shrink(0)
}

// shrink evicts until n more bytes fit.
func (e *encoder) shrink(n int) {
	for e.count > 0 && e.size+n > e.max {
		e.size -= e.entry(e.seq - e.count + 1).size()
		e.count--
	}
}

func (e *encoder) entry(seq uint32) *encEntry { return &e.entries[seq&uint32(len(e.entries)-1)] }

// begin starts a block.
func (e *encoder) begin(b []byte) []byte {
	e.bad = false
	if !e.changed {
		return b
	}
	e.changed = false
	if e.least < e.max {
		b = appendInteger(b, 0x20, 5, e.least)
	}
	return appendInteger(b, 0x20, 5, e.max)
}

// pseudo appends a pseudo-header field.
func (e *encoder) pseudo(b []byte, p pseudo, value string) []byte {
	switch p {
	case pseudoMethod:
		switch value {
		case "GET":
			return append(b, 0x82)
		case "POST":
			return append(b, 0x83)
		}
	case pseudoScheme:
		switch value {
		case "http":
			return append(b, 0x86)
		case "https":
			return append(b, 0x87)
		}
	case pseudoPath:
		if value == "/" {
			return append(b, 0x84)
		}
	}
	return e.write(b, &e.pseudos[p], staticByPseudo[p], pseudoNames[p], value, false)
}

// status appends :status.
func (e *encoder) status(b []byte, code int) []byte {
	switch code {
	case 200:
		return append(b, 0x88)
	case 204:
		return append(b, 0x89)
	case 206:
		return append(b, 0x8a)
	case 304:
		return append(b, 0x8b)
	case 400:
		return append(b, 0x8c)
	case 404:
		return append(b, 0x8d)
	case 500:
		return append(b, 0x8e)
	}
	digits := [3]byte{'0' + byte(code/100%10), '0' + byte(code/10%10), '0' + byte(code%10)}
	return e.write(b, &e.pseudos[pseudoStatus], staticByPseudo[pseudoStatus], ":status", view(digits[:]), false)
}

// field appends a field; its name is lowered.
func (e *encoder) field(b []byte, f *message.Field) []byte {
	if f.ID != message.Other && f.ID < encIDs {
		return e.write(b, &e.ids[f.ID], staticByID[f.ID], f.ID.Name(), f.Value, secret(f.ID))
	}
	var room [64]byte
	name := lowered(f.Name, room[:0])
	return e.write(b, &e.others[slotOf(name)], staticByName[name], name, f.Value, false)
}

// secret fields never enter a table, here or at a later hop (RFC 7541 section 7.1.3).
func secret(id message.ID) bool {
	return id == message.Authorization || id == message.ProxyAuthorization || id == message.Cookie || id == message.SetCookie
}

func slotOf(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return (h ^ h>>15) % encSlots
}

// write appends a field. static is the index of its name in the static table, 0 for none.
func (e *encoder) write(b []byte, s *encSlot, static uint8, name, value string, never bool) []byte {
	if never {
		if !sendable(name, value) {
			e.bad = true
			return b
		}
		return appendLiteral(b, 0x10, 4, int(static), name, value)
	}
	index := int(static)
	if e.seq-s.seq < e.count { // its entry is still there
		en := e.entry(s.seq)
		if string(en.b[:en.name]) == name {
			index = staticLen + 1 + int(e.seq-s.seq)
			if string(en.b[en.name:]) == value {
				s.misses = 0
				return appendInteger(b, 0x80, 7, index)
			}
		}
	}
	if !sendable(name, value) {
		e.bad = true
		return b
	}
	s.misses++
	n := len(name) + len(value) + entryOverhead
	if n > e.max/4 || s.misses > patience && s.misses%retry != 0 {
		if s.misses == 255 {
			s.misses = patience
		}
		return appendLiteral(b, 0, 4, index, name, value)
	}
	b = appendInteger(b, 0x40, 6, index)
	if index == 0 {
		b = appendString(b, name)
	}
	b = appendString(b, value)
	s.seq = e.insert(name, value, n)
	return b
}

// insert puts an entry of n bytes into the table.
func (e *encoder) insert(name, value string, n int) uint32 {
	e.shrink(n)
	e.seq++
	if int(e.count) == len(e.entries) {
		e.grow()
	}
	en := e.entry(e.seq)
	en.b = append(append(en.b[:0], name...), value...)
	en.name = len(name)
	e.count++
	e.size += n
	return e.seq
}

// grow makes room for more entries, up to maxEncoderTable/entryOverhead.
func (e *encoder) grow() {
	was := e.entries
	e.entries = make([]encEntry, max(8, 2*len(was)))
	for seq := e.seq - e.count; seq != e.seq; seq++ {
		*e.entry(seq) = was[seq&uint32(len(was)-1)]
	}
}

// appendLiteral appends a field that enters no table.
func appendLiteral(b []byte, pattern byte, bits uint, index int, name, value string) []byte {
	b = appendInteger(b, pattern, bits, index)
	if index == 0 {
		b = append(appendInteger(b, 0, 7, len(name)), name...)
	}
	return append(appendInteger(b, 0, 7, len(value)), value...)
}

// appendInteger appends n with a prefix of some bits behind a pattern (RFC 7541 section 5.1).
func appendInteger(b []byte, pattern byte, bits uint, n int) []byte {
	mask := 1<<bits - 1
	if n < mask {
		return append(b, pattern|byte(n))
	}
	b = append(b, pattern|byte(mask))
	for n -= mask; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// appendString appends a string, Huffman coded when that is shorter.
func appendString(b []byte, s string) []byte {
	if n := int(hpack.HuffmanEncodeLength(s)); n < len(s) {
		return hpack.AppendHuffmanString(appendInteger(b, 0x80, 7, n), s)
	}
	return append(appendInteger(b, 0, 7, len(s)), s...)
}
