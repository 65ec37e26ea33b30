package translate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// Hash returns a number that is equal for messages with equal content, whatever order their maps were serialised in. It
// is the first 64 bits of SHA-256 over the deterministic serialisation followed by extra.
func (t *Translator) Hash(m proto.Message, extra ...byte) uint64 {
	options := proto.MarshalOptions{Deterministic: true, AllowPartial: true}
	b, err := options.Marshal(m)
	// The type URL of an Any has a slash, which most large messages have nowhere.
	if bytes.IndexByte(b, '/') >= 0 && holdsAny(m.ProtoReflect(), 0) {
		m = proto.Clone(m)
		t.canonical(m.ProtoReflect(), 0)
		b, err = options.Marshal(m)
	}
	if err != nil {
		// Only strings that are not UTF-8 get here; they are refused elsewhere.
		b = []byte(err.Error())
	}
	sum := sha256.Sum256(append(b, extra...))
	return binary.BigEndian.Uint64(sum[:8])
}

// maxDepth bounds how deep messages may be nested, far above anything that is not hostile.
const maxDepth = 100

// eachMessage calls f for every sub-message that is set in m until f returns false.
func eachMessage(m protoreflect.Message, f func(protoreflect.Message) bool) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() == nil {
				return true
			}
			more := true
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				more = f(v.Message())
				return more
			})
			return more
		case fd.Message() == nil:
			return true
		case fd.IsList():
			for i := range v.List().Len() {
				if !f(v.List().Get(i).Message()) {
					return false
				}
			}
			return true
		}
		return f(v.Message())
	})
}

// holdsAny reports whether there is an Any in m.
func holdsAny(m protoreflect.Message, depth int) bool {
	if _, ok := m.Interface().(*anypb.Any); ok || depth > maxDepth {
		return true
	}
	found := false
	eachMessage(m, func(sub protoreflect.Message) bool {
		found = holdsAny(sub, depth+1)
		return !found
	})
	return found
}

// canonical serialises the content of every Any in m anew, deterministically. Content that cannot be read stays.
func (t *Translator) canonical(m protoreflect.Message, depth int) {
	if depth > maxDepth {
		return
	}
	if a, ok := m.Interface().(*anypb.Any); ok {
		inner, err := anypb.UnmarshalNew(a, proto.UnmarshalOptions{Resolver: t.opt.Resolver, AllowPartial: true})
		if err != nil {
			return
		}
		t.canonical(inner.ProtoReflect(), depth+1)
		if b, err := (proto.MarshalOptions{Deterministic: true, AllowPartial: true}).Marshal(inner); err == nil {
			a.Value = b
		}
		return
	}
	eachMessage(m, func(sub protoreflect.Message) bool {
		t.canonical(sub, depth+1)
		return true
	})
}
