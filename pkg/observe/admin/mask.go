package admin

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// splitMask reads the text form of a FieldMask. Each path is a list of field names; an empty path is the whole message.
func splitMask(mask string) [][]protoreflect.Name {
	var paths [][]protoreflect.Name
	for text := range strings.SplitSeq(mask, ",") {
		if text == "" {
			continue
		}
		var path []protoreflect.Name
		for name := range strings.SplitSeq(text, ".") {
			path = append(path, protoreflect.Name(name))
		}
		paths = append(paths, path)
	}
	return paths
}

// trim leaves in m only what the paths name. It tells whether all of them fit the type; if not, m is as it was. No path at all
// keeps everything, as in protobuf's own FieldMask functions.
func trim(m protoreflect.Message, paths [][]protoreflect.Name) bool {
	for _, path := range paths {
		if !fits(m.Descriptor(), path) {
			return false
		}
	}
	keep(m, paths)
	return true
}

// fits tells whether every step of the path is a field, and all but the last are singular messages.
func fits(d protoreflect.MessageDescriptor, path []protoreflect.Name) bool {
	for i, name := range path {
		if d == nil {
			return false
		}
		field := d.Fields().ByName(name)
		if field == nil {
			return false
		}
		if last := i == len(path)-1; !last && field.Cardinality() == protoreflect.Repeated {
			return false
		}
		d = field.Message()
	}
	return true
}

func keep(m protoreflect.Message, paths [][]protoreflect.Name) {
	below := make(map[protoreflect.Name][][]protoreflect.Name)
	whole := make(map[protoreflect.Name]bool)
	for _, path := range paths {
		if len(path) == 0 {
			return
		}
		below[path[0]] = append(below[path[0]], path[1:])
		whole[path[0]] = whole[path[0]] || len(path) == 1
	}
	if len(below) == 0 {
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		inner, named := below[field.Name()]
		switch {
		case !named:
			m.Clear(field)
		case !whole[field.Name()]:
			keep(value.Message(), inner)
		}
		return true
	})
	m.SetUnknown(nil)
}

// maskResource applies a mask to an element of a dump, whose paths may lead into the resource that it holds packed, such as
// "cluster.name,last_updated". It tells whether the mask fits.
func maskResource(m protoreflect.Message, mask string) bool {
	var outer [][]protoreflect.Name
	inner := make(map[protoreflect.Name][][]protoreflect.Name)
	for _, path := range splitMask(mask) {
		field := m.Descriptor().Fields().ByName(path[0])
		if field != nil && field.Message() != nil && !field.IsList() && field.Message().FullName() == "google.protobuf.Any" {
			inner[path[0]] = append(inner[path[0]], path[1:])
			path = path[:1]
		}
		outer = append(outer, path)
	}
	for name, paths := range inner {
		field := m.Descriptor().Fields().ByName(name)
		if !m.Has(field) {
			continue
		}
		packed, ok := m.Get(field).Message().Interface().(*anypb.Any)
		if !ok {
			return false
		}
		content, err := packed.UnmarshalNew()
		if err != nil || !trim(content.ProtoReflect(), paths) {
			return false
		}
		next := &anypb.Any{TypeUrl: packed.GetTypeUrl()}
		if next.Value, err = (proto.MarshalOptions{AllowPartial: true}).Marshal(content); err != nil {
			return false
		}
		m.Set(field, protoreflect.ValueOfMessage(next.ProtoReflect()))
	}
	return trim(m, outer)
}
