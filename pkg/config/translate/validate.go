package translate

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// violation is what protoc-gen-validate reports for one field.
type violation interface {
	Field() string
	Reason() string
	Cause() error
}

// validate records every broken rule of protoc-gen-validate in m and the messages below it, Any fields excepted.
func (c *call) validate(m proto.Message, p *path) {
	v, ok := m.(interface{ ValidateAll() error })
	if !ok {
		return
	}
	if err := v.ValidateAll(); err != nil {
		c.violations(err, m.ProtoReflect(), p)
	}
}

// violations walks down the causes of err. md is the message that err is about; nil when that is not known.
func (c *call) violations(err error, m protoreflect.Message, p *path) {
	if many, ok := err.(interface{ AllErrors() []error }); ok {
		for _, e := range many.AllErrors() {
			c.violations(e, m, p)
		}
		return
	}
	v, ok := err.(violation)
	if !ok {
		c.failAs(CodeRule, p, "%v", err)
		return
	}
	fd, at := fieldOf(m, v.Field(), p)
	cause := v.Cause()
	if cause == nil {
		c.failAs(CodeRule, at, "%s", v.Reason())
		return
	}
	if sub := below(m, fd, v.Field()); sub != nil {
		c.violations(cause, sub, at)
		return
	}
	c.failAs(CodeRule, at, "%s: %v", v.Reason(), cause)
}

// fieldOf finds the field that protoc-gen-validate calls by its Go name, perhaps with an index, such as Filters[2].
func fieldOf(m protoreflect.Message, name string, p *path) (protoreflect.FieldDescriptor, *path) {
	base, rest, indexed := strings.Cut(name, "[")
	rest = strings.TrimSuffix(rest, "]")
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if goName(string(fd.Name())) != base {
			continue
		}
		if !indexed {
			return fd, p.field(string(fd.Name()))
		}
		if n, err := strconv.Atoi(rest); err == nil && fd.IsList() {
			return fd, p.elem(string(fd.Name()), n)
		}
		return fd, p.entry(string(fd.Name()), rest)
	}
	oneofs := m.Descriptor().Oneofs()
	for i := range oneofs.Len() {
		if goName(string(oneofs.Get(i).Name())) == base {
			return nil, p.field(string(oneofs.Get(i).Name()))
		}
	}
	return nil, p.field(name)
}

// below returns the message of m that a violation's cause is about; nil when it cannot tell.
func below(m protoreflect.Message, fd protoreflect.FieldDescriptor, name string) protoreflect.Message {
	switch {
	case fd == nil || fd.IsMap() || fd.Message() == nil || !m.Has(fd):
		return nil
	case fd.IsList():
		var i int
		if _, err := fmt.Sscanf(name[strings.IndexByte(name+"[", '['):], "[%d]", &i); err != nil || i < 0 || i >= m.Get(fd).List().Len() {
			return nil
		}
		return m.Get(fd).List().Get(i).Message()
	default:
		return m.Get(fd).Message()
	}
}

// goName is the Go name of a proto field: http2_protocol_options is Http2ProtocolOptions.
func goName(name string) string {
	var b strings.Builder
	up := true
	for i := range len(name) {
		switch ch := name[i]; {
		case ch == '_' && i+1 < len(name) && 'a' <= name[i+1] && name[i+1] <= 'z':
			up = true
		case up && 'a' <= ch && ch <= 'z':
			b.WriteByte(ch - 'a' + 'A')
			up = false
		default:
			b.WriteByte(ch)
			up = ch >= '0' && ch <= '9'
		}
	}
	return b.String()
}
