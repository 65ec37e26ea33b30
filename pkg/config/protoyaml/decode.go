package protoyaml

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// decoder walks YAML nodes and a message's descriptor side by side.
type decoder struct {
	sink
	opt  Options
	json bool
	// budget is how many more nodes may be visited.
	budget int
	// typeHints is how many more nearest type URLs may be searched for.
	typeHints int
	// types caches the text of every known type URL for those searches.
	types []string
}

func newDecoder(file string, size int, isJSON bool, opt Options) *decoder {
	return &decoder{
		sink: sink{file: file}, opt: opt, json: isJSON,
		budget: size + maxAliasNodes, typeHints: maxTypeHints,
	}
}

// failAt reports an error at n and remembers that the field at has a value.
func (d *decoder) failAt(n *yaml.Node, at *frame, suggestion, format string, args ...any) {
	path := at.path()
	d.spoil(path)
	d.fail(Error{Line: n.Line, Column: n.Column, Path: path, Reason: fmt.Sprintf(format, args...), Suggestion: suggestion})
}

// enter follows aliases from n and accounts for the visit. It returns nil when
// a bound is exceeded, which it has then reported.
func (d *decoder) enter(n *yaml.Node, at *frame) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
		d.budget--
	}
	d.budget--
	switch {
	case d.budget == -1:
		d.failAt(n, at, "", "YAML aliases expand to too much: the rest is ignored")
		return nil
	case d.budget < 0:
		return nil
	case at.depth > maxDepth:
		d.failAt(n, at, "", "nested more than %d levels deep", maxDepth)
		return nil
	}
	return n
}

// message decodes n into m, whose frame is at.
func (d *decoder) message(n *yaml.Node, m protoreflect.Message, at *frame) {
	n = d.enter(n, at)
	if n == nil || d.wellKnown(n, m, at) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.failAt(n, at, "", "expected a mapping with the fields of %s, got %s", m.Descriptor().FullName(), d.describe(n, at))
		return
	}
	d.fields(d.pairs(n, at, fieldName(m.Descriptor())), m, at)
}

// fields decodes the keys of a mapping as the fields of m.
func (d *decoder) fields(pairs []pair, m protoreflect.Message, at *frame) {
	oneofs := make(map[protoreflect.FullName]string)
	md := m.Descriptor()
	for _, p := range pairs {
		fd := findField(md, p.key.Value)
		if fd == nil {
			d.unknownField(p.key, md, at)
			continue
		}
		val := follow(p.value)
		if isNull(val) && !takesNull(fd) {
			continue
		}
		if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() {
			if other, dup := oneofs[od.FullName()]; dup {
				d.failAt(p.key, at.child(fd), "", "only one of %s may be set, and %q is set already", oneofNames(od), other)
				continue
			}
			oneofs[od.FullName()] = string(fd.Name())
		}
		d.field(p.value, m, fd, at.child(fd))
	}
}

// field decodes n into field fd of m.
func (d *decoder) field(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, at *frame) {
	switch {
	case fd.IsMap():
		d.mapField(n, m.Mutable(fd).Map(), fd, at)
	case fd.IsList():
		d.listField(n, m.Mutable(fd).List(), fd, at)
	case fd.Message() != nil:
		d.message(n, m.Mutable(fd).Message(), at)
	default:
		if v, ok := d.scalar(n, fd, at); ok {
			m.Set(fd, v)
		}
	}
}

// listField decodes a sequence, or one value where a list is meant.
func (d *decoder) listField(n *yaml.Node, list protoreflect.List, fd protoreflect.FieldDescriptor, at *frame) {
	items := []*yaml.Node{n}
	if seq := follow(n); seq.Kind == yaml.SequenceNode {
		if seq = d.enter(n, at); seq == nil {
			return
		}
		items = seq.Content
	}
	for i, item := range items {
		if d.budget < 0 {
			return
		}
		elem := at.elem(i)
		switch {
		case isNull(follow(item)) && !takesNullElem(fd):
			d.failAt(item, elem, "", "a list element must not be null")
		case fd.Message() != nil:
			d.message(item, list.AppendMutable().Message(), elem)
		default:
			if v, ok := d.scalar(item, fd, elem); ok {
				list.Append(v)
			}
		}
	}
}

// mapField decodes a mapping into a protobuf map.
func (d *decoder) mapField(n *yaml.Node, m protoreflect.Map, fd protoreflect.FieldDescriptor, at *frame) {
	n = d.enter(n, at)
	if n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.failAt(n, at, "", "expected a mapping, got %s", d.describe(n, at))
		return
	}
	for _, p := range d.pairs(n, at, verbatim) {
		entry := at.entry(p.key.Value, fd.MapValue())
		key, ok := mapKey(p.key.Value, fd.MapKey().Kind())
		switch {
		case !ok:
			d.failAt(p.key, entry, "", "the key of the map must be %s", kindName(fd.MapKey()))
		case isNull(follow(p.value)) && !takesNullElem(fd.MapValue()):
			d.failAt(p.key, entry, "write {} for an empty value", "a map value must not be null")
		case fd.MapValue().Message() != nil:
			v := m.NewValue()
			d.message(p.value, v.Message(), entry)
			m.Set(key, v)
		default:
			if v, ok := d.scalar(p.value, fd.MapValue(), entry); ok {
				m.Set(key, v)
			}
		}
	}
}

// mapKey converts the text of a key to a map key of the given kind.
func mapKey(text string, kind protoreflect.Kind) (protoreflect.MapKey, bool) {
	switch kind {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text).MapKey(), true
	case protoreflect.BoolKind:
		v, err := strconv.ParseBool(text)
		return protoreflect.ValueOfBool(v).MapKey(), err == nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		v, err := strconv.ParseInt(text, 10, 32)
		return protoreflect.ValueOfInt32(int32(v)).MapKey(), err == nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		v, err := strconv.ParseInt(text, 10, 64)
		return protoreflect.ValueOfInt64(v).MapKey(), err == nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		v, err := strconv.ParseUint(text, 10, 32)
		return protoreflect.ValueOfUint32(uint32(v)).MapKey(), err == nil
	default:
		v, err := strconv.ParseUint(text, 10, 64)
		return protoreflect.ValueOfUint64(v).MapKey(), err == nil
	}
}

// findField looks a key up by proto name and by JSON name.
func findField(md protoreflect.MessageDescriptor, key string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByTextName(key); fd != nil {
		return fd
	}
	return md.Fields().ByJSONName(key)
}

// takesNull reports whether null is a value of fd and not its absence.
func takesNull(fd protoreflect.FieldDescriptor) bool {
	return !fd.IsList() && !fd.IsMap() && takesNullElem(fd)
}

// takesNullElem is takesNull for an element of a list or map.
func takesNullElem(fd protoreflect.FieldDescriptor) bool {
	return fd.Message() != nil && fd.Message().FullName() == "google.protobuf.Value"
}
