package message

import (
	"iter"
	"slices"
)

// Field is one header line.
type Field struct {
	// ID is Other for names that are not well known.
	ID ID
	// Received tells that the name was spelt like this by the peer, and not by weir; see Names.
	Received bool
	// Name is as received; names compare without case. Writers lower it unless told otherwise.
	Name  string
	Value string
}

// Headers is an ordered list of fields. The zero value is ready for use. Order and repetition are kept.
type Headers struct {
	fields []Field
	// maybe has a bit for each ID: fields of an ID whose bit is not set are not there, so that most questions need no look
	// at the fields. Bits are taken away by Reset only.
	maybe [2]uint64
}

// All IDs have a bit.
var _ [128 - int(idCount)]struct{}

func (h *Headers) may(id ID) bool { return h.maybe[id>>6&1]&(1<<(id&63)) != 0 }

// Len is the number of fields.
func (h *Headers) Len() int { return len(h.fields) }

// At returns field i, 0 <= i < Len; the pointer is valid until the next change.
func (h *Headers) At(i int) *Field { return &h.fields[i] }

// All yields the fields in order.
func (h *Headers) All() iter.Seq[*Field] {
	return func(yield func(*Field) bool) {
		for i := range h.fields {
			if !yield(&h.fields[i]) {
				return
			}
		}
	}
}

// Reset removes all fields and keeps the memory.
func (h *Headers) Reset() {
	clear(h.fields)
	h.fields, h.maybe = h.fields[:0], [2]uint64{}
}

// Get returns the first value of a well-known header, "" when absent.
func (h *Headers) Get(id ID) string {
	if !h.may(id) {
		return ""
	}
	return h.first(id)
}

func (h *Headers) first(id ID) string {
	for i := range h.fields {
		if h.fields[i].ID == id {
			return h.fields[i].Value
		}
	}
	return ""
}

// Has tells whether a well-known header is there.
func (h *Headers) Has(id ID) bool { return h.may(id) && h.find(id, "", 0) >= 0 }

// Lookup returns the first value under a name, compared without case.
func (h *Headers) Lookup(name string) (string, bool) {
	id := IDOf(name)
	if !h.may(id) {
		return "", false
	}
	if i := h.find(id, name, 0); i >= 0 {
		return h.fields[i].Value, true
	}
	return "", false
}

// Joined returns all values under a name joined by ",", as Envoy's matchers see repeated headers; cookies are joined by
// "; " (RFC 9113 section 8.2.3).
func (h *Headers) Joined(name string) (string, bool) {
	id, delimiter := IDOf(name), ","
	if id == Cookie {
		delimiter = "; "
	}
	if !h.may(id) {
		return "", false
	}
	value, found, more := "", false, []byte(nil)
	for i := range h.fields {
		f := &h.fields[i]
		if f.ID != id || id == Other && !equalFold(f.Name, name) {
			continue
		}
		switch {
		case !found:
			value, found = f.Value, true
		case more == nil:
			more = append(append(append(more, value...), delimiter...), f.Value...)
		default:
			more = append(append(more, delimiter...), f.Value...)
		}
	}
	if more != nil {
		value = string(more)
	}
	return value, found
}

// Add appends a field. Name may be in any case; a well-known name gets its ID.
func (h *Headers) Add(name, value string) {
	h.add(IDOf(name), name, value)
}

// AddID appends a well-known field under its canonical lower-case name.
func (h *Headers) AddID(id ID, value string) {
	f := h.Extend(id)
	f.Name, f.Value = idNames[id], value
}

func (h *Headers) add(id ID, name, value string) {
	f := h.Extend(id)
	f.Name, f.Value = name, value
}

// Append appends a field whose ID the caller knows; codecs use it.
func (h *Headers) Append(f Field) { *h.Extend(f.ID) = f }

// Extend appends a field with an ID, not received, and returns it, for the caller to fill in name and value before anything
// else happens to the headers.
func (h *Headers) Extend(id ID) *Field {
	h.maybe[id>>6&1] |= 1 << (id & 63)
	n := len(h.fields)
	if n == cap(h.fields) {
		h.fields = slices.Grow(h.fields, minGrowth)
	}
	h.fields = h.fields[:n+1]
	f := &h.fields[n]
	f.ID, f.Received = id, false
	return f
}

// minGrowth is by how many fields a list grows at least: most messages need no second time.
const minGrowth = 16

// Retract takes the last field back.
func (h *Headers) Retract() {
	n := len(h.fields) - 1
	h.fields[n] = Field{}
	h.fields = h.fields[:n]
}

// Set replaces all fields of a name by one value, at the place of the first, or appends it.
func (h *Headers) Set(name, value string) { h.set(IDOf(name), name, value) }

// SetID is Set for a well-known header.
func (h *Headers) SetID(id ID, value string) { h.set(id, id.Name(), value) }

func (h *Headers) set(id ID, name, value string) {
	at := -1
	if h.may(id) {
		at = h.find(id, name, 0)
	}
	if at < 0 {
		h.add(id, name, value)
		return
	}
	h.fields[at].Value = value
	if again := h.find(id, name, at+1); again >= 0 {
		h.cut(id, name, again)
	}
}

// find returns the index of the first field of a name, from the given one on, -1 when there is none.
func (h *Headers) find(id ID, name string, from int) int {
	for i := from; i < len(h.fields); i++ {
		if f := &h.fields[i]; f.ID == id && (id != Other || equalFold(f.Name, name)) {
			return i
		}
	}
	return -1
}

// cut removes the fields of a name, of which the first is at index at.
func (h *Headers) cut(id ID, name string, at int) {
	kept := h.fields[:at]
	for i := at + 1; i < len(h.fields); i++ {
		f := &h.fields[i]
		if f.ID == id && (id != Other || equalFold(f.Name, name)) {
			continue
		}
		kept = append(kept, *f)
	}
	clear(h.fields[len(kept):])
	h.fields = kept
}

// Del removes all fields of a name and tells whether there were any.
func (h *Headers) Del(name string) bool { return h.del(IDOf(name), name) }

// DelID is Del for a well-known header.
func (h *Headers) DelID(id ID) bool { return h.del(id, "") }

func (h *Headers) del(id ID, name string) bool {
	if !h.may(id) {
		return false
	}
	at := h.find(id, name, 0)
	if at < 0 {
		return false
	}
	h.cut(id, name, at)
	return true
}

// CopyFrom replaces the fields by those of src; the strings are shared.
func (h *Headers) CopyFrom(src *Headers) {
	h.fields, h.maybe = append(h.fields[:0], src.fields...), src.maybe
}

// ByteSize is the sum of the lengths of names and values.
func (h *Headers) ByteSize() int {
	n := 0
	for i := range h.fields {
		n += len(h.fields[i].Name) + len(h.fields[i].Value)
	}
	return n
}

// equalFold compares header names: ASCII only, without case.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}
