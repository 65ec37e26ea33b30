package h2

import (
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// field is a decoded field with what was found out about it.
type field struct {
	message.Field
	pseudo pseudo
	// badName and badValue tell of characters that no field may have (RFC 9113 section 8.2.1).
	badName, badValue bool
	// underscore is in the name.
	underscore bool
	// blanks were around the value.
	blanks bool
}

// fieldSink takes decoded fields. Their strings are owned.
type fieldSink interface {
	// field returns false when no more fields of the block are wanted.
	field(f *field) (more bool)
}

// decoder reads field blocks. HPACK (RFC 7541) is the hpack package's; what is added is that a field that comes again is
// not looked at again, and that what follows in a block that is too large costs neither memory nor a look.
type decoder struct {
	hpack *hpack.Decoder
	sink  fieldSink
	tmp   field
	known *[knownFields]field // nil before the first block; it may be dropped between blocks
}

// Bounds of what is remembered of fields.
const (
	knownFields = 32
	knownBytes  = 256 // of name and value
)

// newDecoder makes a decoder whose peer may use a table of so many bytes.
func newDecoder(tableSize int) *decoder {
	d := new(decoder)
	d.hpack = hpack.NewDecoder(uint32(tableSize), d.emit)
	return d
}

// decode reads one whole block and gives its fields to sink. After an error the connection cannot go on. Strings need no
// bound of their own, as the block has one.
func (d *decoder) decode(block []byte, sink fieldSink) error {
	if d.known == nil {
		d.known = new([knownFields]field)
	}
	d.sink = sink
	d.hpack.SetEmitEnabled(true)
	for n := sizeUpdate(block); n > 0; n = sizeUpdate(block) {
		if err := d.write(block[:n]); err != nil {
			return err
		}
		block = block[n:]
	}
	err := d.write(block)
	d.sink = nil
	return err
}

// write reads what is complete in itself.
func (d *decoder) write(p []byte) error {
	if _, err := d.hpack.Write(p); err != nil {
		return err
	}
	return d.hpack.Close()
}

// sizeUpdate is the length of the table size update that b begins with, 0 without one. A block may begin with two of them
// (RFC 7541 section 4.2), of which hpack takes the second only as if it began a block.
func sizeUpdate(b []byte) int {
	if len(b) == 0 || b[0]&0xe0 != 0x20 {
		return 0
	}
	n := 1
	if b[0]&0x1f == 0x1f {
		for n < len(b) && b[n]&0x80 != 0 {
			n++
		}
		n = min(n+1, len(b))
	}
	return n
}

// emit takes a field of hpack's.
func (d *decoder) emit(h hpack.HeaderField) {
	if !d.sink.field(d.look(h.Name, h.Value)) {
		d.hpack.SetEmitEnabled(false)
	}
}

// look tells what a field is. Fields that come again mostly are entries of the table, so that to compare them is to compare
// pointers.
func (d *decoder) look(name, value string) *field {
	if name == "" || len(name)+len(value) > knownBytes {
		d.tmp = newField(name, value)
		return &d.tmp
	}
	f := &d.known[(len(name)*5^int(name[len(name)-1])^len(value)*3)%knownFields]
	if f.Name != name || f.Value != value || f.blanks {
		*f = newField(name, value)
	}
	return f
}

// rest lets go of what is remembered without need.
func (d *decoder) rest() { d.known, d.tmp = nil, field{} }
