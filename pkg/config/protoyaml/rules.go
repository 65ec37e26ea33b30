package protoyaml

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ruleError is what protoc-gen-validate generates for each message.
type ruleError interface {
	error
	Field() string
	Reason() string
	Cause() error
}

// ruleErrors is its list form.
type ruleErrors interface{ AllErrors() []error }

// validate applies the generated rules to m, which was decoded from n. Messages
// inside an Any are not reached by them: the caller validates each on its own.
func (d *decoder) validate(m proto.Message, n *yaml.Node, at *frame) {
	if !d.opt.SkipValidation && d.budget >= 0 {
		d.sink.rules(m, n, at)
	}
}

// rules reports the violated rules of m. n may be nil, and only gives positions.
func (s *sink) rules(m proto.Message, n *yaml.Node, at *frame) {
	v, ok := m.(interface{ ValidateAll() error })
	if !ok {
		return
	}
	if err := v.ValidateAll(); err != nil {
		s.flatten(err, place{path: at.path(), md: m.ProtoReflect().Descriptor(), node: n})
	}
}

// place is where in a message, and in the text, a rule was violated.
type place struct {
	path string
	md   protoreflect.MessageDescriptor
	// node is the nearest node of the text; exact tells whether it is the
	// value itself and not what holds it.
	node  *yaml.Node
	exact bool
}

// flatten reports the leaves of a tree of rule errors.
func (s *sink) flatten(err error, at place) {
	if list, ok := err.(ruleErrors); ok {
		for _, e := range list.AllErrors() {
			s.flatten(e, at)
		}
		return
	}
	rule, ok := err.(ruleError)
	if !ok {
		s.violated(at, err.Error())
		return
	}
	field, oneof := at.step(rule.Field())
	if oneof != nil {
		s.violatedOneof(at, oneof)
		return
	}
	switch cause := rule.Cause().(type) {
	case nil:
		s.violated(field, rule.Reason())
	case ruleErrors, ruleError:
		s.flatten(cause, field)
	default:
		s.violated(field, rule.Reason()+": "+cause.Error())
	}
}

// violated reports one rule, unless the value is missing only because it could
// not be decoded, which is reported already.
func (s *sink) violated(at place, reason string) {
	if !s.isSpoiled(at.path) {
		s.report(at, reason)
	}
}

func (s *sink) report(at place, reason string) {
	e := Error{Path: at.path, Reason: reason, Code: CodeRule}
	if at.node != nil {
		e.Line, e.Column = at.node.Line, at.node.Column
	}
	s.fail(e)
}

func (s *sink) violatedOneof(at place, od protoreflect.OneofDescriptor) {
	if s.isTried(at.path) {
		return
	}
	for i := range od.Fields().Len() {
		if s.isSpoiled(join(at.path, string(od.Fields().Get(i).Name()))) {
			return
		}
	}
	reason := "one of " + oneofNames(od) + " is required"
	if od.Fields().Len() == 1 {
		reason = oneofNames(od) + " is required"
	}
	s.report(at, reason)
}

// step follows a field in the generated notation, which is the Go name with an
// index or a map key in brackets, such as Filters[2]. For a oneof as a whole
// it returns that instead.
func (p place) step(field string) (place, protoreflect.OneofDescriptor) {
	name, sub, indexed := strings.Cut(field, "[")
	sub = strings.TrimSuffix(sub, "]")
	fd := goField(p.md, name)
	if fd == nil {
		if od := goOneof(p.md, name); od != nil {
			return p, od
		}
		return place{path: join(p.path, field), node: p.node}, nil
	}
	next := place{path: join(p.path, string(fd.Name())), md: fd.Message()}
	next.node, next.exact = valueOf(p.node, fd)
	switch {
	case indexed && fd.IsMap():
		next.path += "[" + strconv.Quote(sub) + "]"
		next.md = fd.MapValue().Message()
		if next.exact {
			next.node = entryOf(next.node, sub)
		}
	case indexed:
		next.path += "[" + sub + "]"
		if i, err := strconv.Atoi(sub); err == nil && next.exact && next.node.Kind == yaml.SequenceNode && i < len(next.node.Content) {
			next.node = follow(next.node.Content[i])
		}
	}
	return next, nil
}

// valueOf returns the value of fd in mapping n, or n itself when it has none.
func valueOf(n *yaml.Node, fd protoreflect.FieldDescriptor) (value *yaml.Node, found bool) {
	if n == nil || n.Kind != yaml.MappingNode {
		return n, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case fd.TextName(), fd.JSONName():
			return follow(n.Content[i+1]), true
		}
	}
	return n, false
}

// entryOf returns the value under key in mapping n, or n itself.
func entryOf(n *yaml.Node, key string) *yaml.Node {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return follow(n.Content[i+1])
			}
		}
	}
	return n
}

// goField finds the field whose generated Go name is name.
func goField(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if md == nil {
		return nil
	}
	for i := range md.Fields().Len() {
		if fd := md.Fields().Get(i); squeeze(string(fd.Name())) == squeeze(name) {
			return fd
		}
	}
	return nil
}

func goOneof(md protoreflect.MessageDescriptor, name string) protoreflect.OneofDescriptor {
	if md == nil {
		return nil
	}
	for i := range md.Oneofs().Len() {
		if od := md.Oneofs().Get(i); squeeze(string(od.Name())) == squeeze(name) {
			return od
		}
	}
	return nil
}

// squeeze drops what the conversion of a proto name to a Go name changes.
func squeeze(name string) string {
	return strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(name, "_", "")), "x")
}
