package xds

import "google.golang.org/protobuf/encoding/protowire"

// nameField is the number of the field that names a resource, in all types that have names of their own.
const nameField protowire.Number = 1

// PeekName reads the name in a resource's body without decoding it; that of the response when it has none there, and empty when
// it cannot be told.
func (r *Resource) PeekName() string {
	if r.Body == nil {
		return r.Name
	}
	name := r.Name
	for b := r.Body.GetValue(); len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return ""
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return ""
		}
		if number == nameField && kind == protowire.BytesType {
			if v, _ := protowire.ConsumeBytes(b[:n]); len(v) > 0 {
				name = string(v) // the last one counts, as for any decoder
			}
		}
		b = b[n:]
	}
	return name
}
