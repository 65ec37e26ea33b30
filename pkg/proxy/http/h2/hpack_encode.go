package h2

import (
	"strings"

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

// encoder writes field blocks. HPACK (RFC 7541) is the hpack package's, whose tables keep the strings that they are given,
// while those of messages are views of memory that is used again. So there are two of its encoders, writing to one place:
// one with the table that the peer knows, which sees strings of our own only, and one without a table for all that shall
// not enter it. For each name the newest value is remembered: fields repeat the value that they had last or change all the
// time, and those that change are soon not put into the table any more.
type encoder struct {
	out   blockWriter
	table *hpack.Encoder
	plain *hpack.Encoder

	changed bool // the size of the table, which the next block must tell
	bad     bool // a field was left out since the last block began, as it cannot be sent

	era   uint32      // counts the changes of the table
	pairs []knownPair // what slots refer to
	held  int         // bytes of the strings in pairs

	pseudos [pseudoCount]encSlot
	ids     [encIDs]encSlot
	others  [encSlots]encSlot

	lower  [64]byte // the name in lower case
	digits [20]byte // the number that is a value
}

// knownPair is the newest value of a name that was worth remembering.
type knownPair struct {
	name, value string // owned

	// code is the index that the pair had in the table; n bytes of it hold as long as the table is that of era.
	code [2]byte
	n    uint8
	era  uint32
}

// maxHeld bounds the strings of all pairs in bytes: with more, all are forgotten.
const maxHeld = 2 * maxEncoderTable

// encSlot is what the encoder remembers of a name.
type encSlot struct {
	at     uint8 // index of its pair, counted from 1
	misses uint8 // values in a row that were not the pair's
}

// After patience new values in a row, only one of retry enters the table.
const (
	patience = 4
	retry    = 32
)

// blockWriter is where both encoders write.
type blockWriter struct{ b []byte }

// Write implements io.Writer.
func (w *blockWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// one is a field that takes one byte, whatever the table holds; read only.
var one = hpack.HeaderField{Name: ":method", Value: "GET"}

func (e *encoder) init() {
	e.table = hpack.NewEncoder(&e.out) // with a table of maxEncoderTable bytes
	e.plain = e.newPlain()
}

// newPlain makes an encoder without a table, of which the peer knows nothing: it is not told of the table's size.
func (e *encoder) newPlain() *hpack.Encoder {
	p := hpack.NewEncoder(&e.out)
	p.SetMaxDynamicTableSize(0)
	e.put(nil, p, one)
	return p
}

// put appends what an encoder makes of a field.
func (e *encoder) put(b []byte, by *hpack.Encoder, f hpack.HeaderField) []byte {
	e.out.b = b
	_ = by.WriteField(f) // fails when the writer does
	b, e.out.b = e.out.b, nil
	return b
}

// setMax takes the peer's SETTINGS_HEADER_TABLE_SIZE.
func (e *encoder) setMax(n uint32) {
	n = min(n, maxEncoderTable)
	if n == e.table.MaxDynamicTableSize() {
		return
	}
	e.table.SetMaxDynamicTableSize(n)
	e.changed = true
	e.era++
}

// begin starts a block, with the size of the table if that was changed: hpack tells it with the table's next field, which
// may not be the block's first one.
func (e *encoder) begin(b []byte) []byte {
	e.bad = false
	if !e.changed {
		return b
	}
	e.changed = false
	b = e.put(b, e.table, one)
	return b[:len(b)-1]
}

// pseudo appends a pseudo-header field.
func (e *encoder) pseudo(b []byte, p pseudo, value string) []byte {
	return e.write(b, &e.pseudos[p], pseudoNames[p], value)
}

// status appends :status.
func (e *encoder) status(b []byte, code int) []byte {
	e.digits[0], e.digits[1], e.digits[2] = '0'+byte(code/100%10), '0'+byte(code/10%10), '0'+byte(code%10)
	return e.pseudo(b, pseudoStatus, view(e.digits[:3]))
}

// field appends a field; its name is lowered.
func (e *encoder) field(b []byte, f *message.Field) []byte {
	switch {
	case f.ID == message.Other || f.ID >= encIDs:
		name := lowered(f.Name, e.lower[:0])
		return e.write(b, &e.others[slotOf(name)], name, f.Value)
	case secret(f.ID):
		return e.literal(b, f.ID.Name(), f.Value, true)
	}
	return e.write(b, &e.ids[f.ID], f.ID.Name(), f.Value)
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

// write appends a field.
func (e *encoder) write(b []byte, s *encSlot, name, value string) []byte {
	if s.at > 0 {
		if k := &e.pairs[s.at-1]; k.value == value && k.name == name {
			s.misses = 0
			if k.n > 0 && k.era == e.era {
				return append(b, k.code[:k.n]...)
			}
			return e.known(b, k)
		}
	}
	if !sendable(name, value) {
		e.bad = true
		return b
	}
	s.misses++
	n := len(name) + len(value) + entryOverhead
	if n > int(e.table.MaxDynamicTableSize())/4 || s.misses > patience && s.misses%retry != 0 {
		if s.misses == 255 {
			s.misses = patience
		}
		return e.literal(b, name, value, false)
	}
	return e.known(b, e.learn(s, name, value))
}

// entryOverhead is what an entry of a table counts beside its strings (RFC 7541 section 4.1).
const entryOverhead = 32

// learn remembers a pair.
func (e *encoder) learn(s *encSlot, name, value string) *knownPair {
	if e.held += len(name) + len(value); e.held > maxHeld {
		e.forget()
		e.held = len(name) + len(value)
	}
	if s.at == 0 {
		e.pairs = append(e.pairs, knownPair{})
		s.at = uint8(len(e.pairs))
	}
	k := &e.pairs[s.at-1]
	e.held -= len(k.name) + len(k.value)
	if k.name != name {
		k.name = strings.Clone(name)
	}
	k.value, k.n = strings.Clone(value), 0
	return k
}

// forget forgets all pairs.
func (e *encoder) forget() {
	e.pairs, e.held = nil, 0
	clear(e.pseudos[:])
	clear(e.ids[:])
	clear(e.others[:])
}

// known appends a pair by means of the table, which it enters unless it is there.
func (e *encoder) known(b []byte, k *knownPair) []byte {
	from := len(b)
	b = e.put(b, e.table, hpack.HeaderField{Name: k.name, Value: k.value})
	switch code := b[from:]; {
	case code[0]&0x80 != 0: // an index
		k.n, k.era = uint8(copy(k.code[:], code)), e.era
	case code[0]&0x40 != 0: // a new entry, which moves the others
		e.era++
	}
	return b
}

// plainKeep is the length in bytes of a field from which on no buffer is kept for the next one.
const plainKeep = 16 << 10

// literal appends a field that enters no table.
func (e *encoder) literal(b []byte, name, value string, never bool) []byte {
	if !sendable(name, value) {
		e.bad = true
		return b
	}
	b = e.put(b, e.plain, hpack.HeaderField{Name: name, Value: value, Sensitive: never})
	if len(name)+len(value) > plainKeep {
		e.plain = e.newPlain() // the other one holds a buffer of that size now
	}
	return b
}
