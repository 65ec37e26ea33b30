package translate

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// notSupported is the reason of the warnings about fields without effect.
const notSupported = "not supported by weir yet: the field has no effect"

// walk warns about every set field of m, and of the messages below it, that the table does not list. Messages that are
// not in the table at all, such as google.protobuf.Duration, are one value together with the field that holds them.
func (c *call) walk(m protoreflect.Message, p *path, depth int) {
	if depth > maxDepth {
		return
	}
	if a, ok := m.Interface().(*anypb.Any); ok {
		if inner := c.unpacked[a]; inner != nil {
			c.walk(inner.ProtoReflect(), p, depth+1)
		}
		return
	}
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		if c.allowsUnknown() {
			c.warnAs(CodeUnknownField, p, "unknown fields are ignored: %s", unknownFields(unknown))
		} else {
			c.failAs(CodeUnknownField, p, "unknown fields: %s", unknownFields(unknown))
		}
	}
	fields, ok := c.t.table[m.Descriptor().FullName()]
	if !ok {
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		field, known := fields[string(fd.Name())]
		switch {
		case !known:
			c.lacks(p.field(string(fd.Name())), notSupported)
		case field.Harmless == "":
			c.walkValue(fd, v, p, depth)
		}
		return true
	})
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

// walkValue goes on with the messages in the value of a field.
func (c *call) walkValue(fd protoreflect.FieldDescriptor, v protoreflect.Value, p *path, depth int) {
	name := string(fd.Name())
	switch {
	case fd.IsMap():
		if fd.MapValue().Message() == nil {
			return
		}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			c.walk(v.Message(), p.entry(name, k.String()), depth+1)
			return true
		})
	case fd.Message() == nil:
	case fd.IsList():
		for i := range v.List().Len() {
			c.walk(v.List().Get(i).Message(), p.elem(name, i), depth+1)
		}
	default:
		c.walk(v.Message(), p.field(name), depth+1)
	}
}
