package protoyaml

import (
	"fmt"
	"sort"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// ValidateMessage checks a message that came in binary form, such as an xDS
// resource: fields that the message does not know, type URLs that nobody
// knows, and the rules of protoc-gen-validate, in m and recursively in every
// Any, with typed structs converted on the way.
//
// Unknown fields are warnings if opt.AllowUnknown is set, and otherwise errors.
// A type URL that is not known is an error, except where the message around the
// Any says is_optional, where it is a warning in any case. Paths lead from m;
// there are no positions. The error is an Errors.
func ValidateMessage(m proto.Message, opt Options) (warnings []Error, err error) {
	d := newDecoder("", 0, true, opt)
	v := validator{d}
	at := &frame{index: noIndex, md: m.ProtoReflect().Descriptor()}
	if !plain(m.ProtoReflect()) {
		v.message(m.ProtoReflect(), at)
	}
	d.validate(m, nil, at)
	return d.warnings, d.result()
}

// validator walks messages; the decoder collects and converts typed structs.
type validator struct{ *decoder }

// message reports the unknown fields of m and of the messages in it.
func (v validator) message(m protoreflect.Message, at *frame) {
	if at.depth > maxDepth {
		v.fail(Error{Path: at.path(), Reason: fmt.Sprintf("nested more than %d levels deep", maxDepth)})
		return
	}
	v.unknown(m, at)
	if packed, ok := m.Interface().(*anypb.Any); ok {
		v.any(packed, at)
		return
	}
	if skipsWalk(m.Descriptor().FullName()) {
		return
	}
	fields := m.Descriptor().Fields()
	at.optional = isOptional(m)
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch {
		case !m.Has(fd):
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.entries(m.Get(fd).Map(), fd, at.child(fd))
			}
		case fd.Message() == nil:
		case fd.IsList():
			list, child := m.Get(fd).List(), at.child(fd)
			for j := range list.Len() {
				v.message(list.Get(j).Message(), child.elem(j))
			}
		default:
			v.message(m.Get(fd).Message(), at.child(fd))
		}
	}
}

// skipsWalk names the messages that cannot hold an Any or a field of Envoy's.
func skipsWalk(name protoreflect.FullName) bool {
	return hasJSONForm(name) && name != "google.protobuf.Any"
}

func (v validator) entries(m protoreflect.Map, fd protoreflect.FieldDescriptor, at *frame) {
	var keys []protoreflect.MapKey
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	for _, k := range keys {
		v.message(m.Get(k).Message(), at.entry(k.String(), fd.MapValue()))
	}
}

// unknown reports each field number that m does not know, once.
func (v validator) unknown(m protoreflect.Message, at *frame) {
	seen := make(map[protowire.Number]bool)
	for raw := m.GetUnknown(); len(raw) > 0; {
		number, _, n := protowire.ConsumeField(raw)
		if n < 0 {
			break
		}
		raw = raw[n:]
		if seen[number] {
			continue
		}
		seen[number] = true
		e := Error{Path: at.path(), Code: CodeUnknownField, Reason: fmt.Sprintf("unknown field number %d in %s", number, m.Descriptor().FullName())}
		if v.opt.AllowUnknown {
			v.warn(e)
		} else {
			v.fail(e)
		}
	}
}

// any checks the message inside packed, whose frame is at.
func (v validator) any(packed *anypb.Any, at *frame) {
	if packed.GetTypeUrl() == "" && len(packed.GetValue()) == 0 {
		return
	}
	if _, err := v.opt.resolver().FindMessageByURL(packed.GetTypeUrl()); err != nil {
		if _, foreign := Foreign(packed.GetTypeUrl()); foreign {
			return
		}
		e := Error{
			Path: at.path(), Suggestion: v.typeHint(packed.GetTypeUrl()), Code: CodeUnknownType,
			Reason: fmt.Sprintf("unknown type URL %q", shortenURL(packed.GetTypeUrl())),
		}
		if at.parent != nil && at.parent.optional {
			v.warn(e)
		} else {
			v.fail(e)
		}
		return
	}
	inner, err := unmarshalAny(packed, v.opt.resolver())
	if err != nil {
		v.fail(Error{Path: at.path(), Reason: err.Error()})
		return
	}
	content := *at
	content.depth++
	if isTypedStruct(inner.ProtoReflect().Descriptor().FullName()) {
		v.typedStruct(inner, &content)
		return
	}
	content.md = inner.ProtoReflect().Descriptor()
	v.message(inner.ProtoReflect(), &content)
	v.validate(inner, nil, &content)
}

// typedStruct converts a TypedStruct and checks the result.
func (v validator) typedStruct(m proto.Message, at *frame) {
	if named, ok := m.(interface{ GetTypeUrl() string }); ok {
		if _, foreign := Foreign(named.GetTypeUrl()); foreign {
			return
		}
	}
	value := at.raw("value")
	if inner := v.typedStructMessage(m, value); inner != nil {
		value.md = inner.ProtoReflect().Descriptor()
		v.validate(inner, nil, value)
	}
}

// isOptional reports whether m, an HTTP filter or a per-filter configuration,
// may be ignored by a proxy that does not know its type.
func isOptional(m protoreflect.Message) bool {
	fd := m.Descriptor().Fields().ByName("is_optional")
	return fd != nil && fd.Kind() == protoreflect.BoolKind && !fd.IsList() && m.Get(fd).Bool()
}
