package translate

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// notSupported is the reason of the warnings about fields without effect.
const notSupported = "not supported by weir yet: the field has no effect"

// walk warns about every set field of m, and of the messages below it, that the table does not list. Messages that are
// not in the table at all, such as google.protobuf.Duration, are one value together with the field that holds them.
func (c *call) walk(m protoreflect.Message) {
	w, _ := c.t.walkers.Get().(*walker)
	if w == nil {
		w = &walker{}
		w.visit = w.field
	}
	w.call = c
	w.message(m)
	w.call, w.fields = nil, nil
	clear(w.trail[:cap(w.trail)])
	w.trail = w.trail[:0]
	c.t.walkers.Put(w)
}

// walker goes through a message. Large messages have nothing to be warned about as a rule, so that it makes paths and
// closures only when there is, and it is used again.
type walker struct {
	*call
	// trail leads to where it is.
	trail []path
	// fields are those of the message that it goes through.
	fields extension.Fields
	// visit is field.
	visit func(protoreflect.FieldDescriptor, protoreflect.Value) bool
}

// at is the path to where the walker is.
func (w *walker) at() *path {
	var p *path
	for _, step := range w.trail {
		step.up, p = p, &step
	}
	return p
}

// message looks at a message where the walker is.
func (w *walker) message(m protoreflect.Message) {
	if len(w.trail) > maxDepth {
		return
	}
	if a, ok := m.Interface().(*anypb.Any); ok {
		if inner := w.unpacked[a]; inner != nil {
			w.message(inner.ProtoReflect())
		}
		return
	}
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		if w.allowsUnknown() {
			w.warnAs(CodeUnknownField, w.at(), "unknown fields are ignored: %s", unknownFields(unknown))
		} else {
			w.failAs(CodeUnknownField, w.at(), "unknown fields: %s", unknownFields(unknown))
		}
	}
	fields, ok := w.t.table[m.Descriptor().FullName()]
	if !ok {
		return
	}
	outer := w.fields
	w.fields = fields
	m.Range(w.visit)
	w.fields = outer
}

// field looks at a set field.
func (w *walker) field(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	field, known := w.fields[string(fd.Name())]
	if o, ok := fd.Options().(*descriptorpb.FieldOptions); ok && o.GetDeprecated() {
		w.t.deprecated.Add(1)
	}
	switch {
	case !known && slices.Contains(w.named, fd.FullName()):
	case !known:
		w.lacks(w.at().field(string(fd.Name())), notSupported)
	case field.Harmless == "":
		w.value(fd, v)
	}
	return true
}

// value goes on with the messages in the value of a field.
func (w *walker) value(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	name := string(fd.Name())
	switch {
	case fd.IsMap():
		if fd.MapValue().Message() == nil {
			return
		}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			w.step(path{name: name, index: -1, key: k.String()}, v.Message())
			return true
		})
	case fd.Message() == nil:
	case fd.IsList():
		for i := range v.List().Len() {
			w.step(path{name: name, index: i}, v.List().Get(i).Message())
		}
	default:
		w.step(path{name: name, index: -1}, v.Message())
	}
}

// step looks at a message one step further.
func (w *walker) step(to path, m protoreflect.Message) {
	w.trail = append(w.trail, to)
	w.message(m)
	w.trail = w.trail[:len(w.trail)-1]
}

// maxUnknown bounds how many unknown fields a warning lists.
const maxUnknown = 8

// unknownFields names the numbers of fields that are newer than the messages that weir was built with.
func unknownFields(raw protoreflect.RawFields) string {
	var numbers []string
	for len(raw) > 0 {
		number, _, n := protowire.ConsumeField(raw)
		if n < 0 {
			break
		}
		raw = raw[n:]
		if text := strconv.Itoa(int(number)); !slices.Contains(numbers, text) {
			if len(numbers) == maxUnknown {
				numbers = append(numbers, "...")
				break
			}
			numbers = append(numbers, text)
		}
	}
	return "number " + strings.Join(numbers, ", ")
}
