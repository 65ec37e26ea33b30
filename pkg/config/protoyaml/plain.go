package protoyaml

import "google.golang.org/protobuf/reflect/protoreflect"

// plain tells whether a message, and all in it, has neither unknown fields nor an Any, so that only the rules of
// protoc-gen-validate can find fault with it. Large responses of endpoints and routes are plain; it is asked before paths are
// made for each of their messages.
func plain(m protoreflect.Message) bool {
	s := &plainSearch{plain: true}
	s.visit = s.field
	s.message(m)
	return s.plain
}

// plainSearch goes through a message until it is known not to be plain.
type plainSearch struct {
	depth int
	plain bool
	// visit is field.
	visit func(protoreflect.FieldDescriptor, protoreflect.Value) bool
}

func (s *plainSearch) message(m protoreflect.Message) {
	name := m.Descriptor().FullName()
	if s.depth > maxDepth || len(m.GetUnknown()) > 0 || name == "google.protobuf.Any" {
		s.plain = false
		return
	}
	if skipsWalk(name) {
		return
	}
	s.depth++
	m.Range(s.visit)
	s.depth--
}

func (s *plainSearch) field(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	switch {
	case fd.IsMap():
		if fd.MapValue().Message() != nil {
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				s.message(v.Message())
				return s.plain
			})
		}
	case fd.Message() == nil:
	case fd.IsList():
		for i := 0; i < v.List().Len() && s.plain; i++ {
			s.message(v.List().Get(i).Message())
		}
	default:
		s.message(v.Message())
	}
	return s.plain
}
