package store_test

import (
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// TestMutations changes every field of every resource of the set, and of the messages in it, to what nobody expects there. The
// store answers, and takes what is good afterwards.
func TestMutations(t *testing.T) {
	c, err := agent.NewChecker(&options.Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := everything(t)
	for _, typeURL := range types() {
		t.Run(typeURL[strings.LastIndexByte(typeURL, '.')+1:], func(t *testing.T) {
			refused, tried := 0, 0
			for _, r := range good[typeURL] {
				m, err := r.Body.UnmarshalNew()
				if err != nil {
					t.Fatal(err)
				}
				mutate(t, m.ProtoReflect(), 0, func() {
					body, err := proto.Marshal(m)
					if err != nil {
						return // a text that is no UTF-8, which no server sends either
					}
					tried++
					s := newStore(t, c.Translator)
					deliver(t, s, good)
					one := r
					one.Version, one.Body = "2", &anypb.Any{TypeUrl: typeURL, Value: body}
					if s.Update(t.Context(), xds.Update{Type: typeURL, Version: "2", Resources: []xds.Resource{one}}) != nil {
						refused++
					}
					deliver(t, s, good)
				})
			}
			if refused == 0 || refused == tried {
				t.Errorf("%d of %d were refused", refused, tried)
			}
		})
	}
}

// mutate calls try with each single change of m, which it takes back.
func mutate(t *testing.T, m protoreflect.Message, depth int, try func()) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err != nil {
			return
		}
		was := a.Value
		mutate(t, inner.ProtoReflect(), depth, func() {
			if b, err := proto.Marshal(inner); err == nil {
				a.Value = b
				try()
			}
		})
		a.Value = was
		return
	}
	saved := proto.Clone(m.Interface())
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if m.Has(fd) && fd.Message() != nil {
			below(t, m.Get(fd), fd, depth, try)
		} else if depth > 8 {
			continue
		}
		for _, v := range values(m, fd) {
			if v.IsValid() {
				m.Set(fd, v)
			} else {
				m.Clear(fd)
			}
			try()
			proto.Reset(m.Interface())
			proto.Merge(m.Interface(), saved)
		}
	}
}

func below(t *testing.T, v protoreflect.Value, fd protoreflect.FieldDescriptor, depth int, try func()) {
	switch {
	case fd.IsMap():
		if fd.MapValue().Message() != nil {
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				mutate(t, v.Message(), depth+1, try)
				return true
			})
		}
	case fd.IsList():
		for i := range v.List().Len() {
			mutate(t, v.List().Get(i).Message(), depth+1, try)
		}
	default:
		mutate(t, v.Message(), depth+1, try)
	}
}

// values are what a field is changed to; the invalid value clears it.
func values(m protoreflect.Message, fd protoreflect.FieldDescriptor) []protoreflect.Value {
	var none protoreflect.Value
	switch {
	case fd.IsMap():
		return []protoreflect.Value{none}
	case fd.IsList():
		list := m.NewField(fd)
		if fd.Message() != nil {
			list.List().Append(list.List().NewElement())
		} else {
			list.List().Append(scalars(fd)[0])
		}
		twice := m.NewField(fd)
		for range 2 {
			for i := range m.Get(fd).List().Len() {
				twice.List().Append(m.Get(fd).List().Get(i))
			}
		}
		return []protoreflect.Value{none, list, twice}
	case fd.Message() != nil:
		return []protoreflect.Value{none, m.NewField(fd)}
	}
	return scalars(fd)
}

func scalars(fd protoreflect.FieldDescriptor) (out []protoreflect.Value) {
	add := func(list ...any) {
		for _, v := range list {
			out = append(out, protoreflect.ValueOf(v))
		}
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		add(true, false)
	case protoreflect.EnumKind:
		add(protoreflect.EnumNumber(0), protoreflect.EnumNumber(1), protoreflect.EnumNumber(2), protoreflect.EnumNumber(99))
	case protoreflect.StringKind:
		add("", "\x00", "*", "/*", "%", "web", strings.Repeat("a", 10_000))
	case protoreflect.BytesKind:
		add([]byte{}, []byte{0xff})
	case protoreflect.DoubleKind:
		add(math.NaN(), math.Inf(1), -1.0)
	case protoreflect.FloatKind:
		add(float32(-1))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		add(uint32(0), uint32(math.MaxUint32))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		add(uint64(0), uint64(math.MaxUint64))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		add(int32(math.MinInt32), int32(math.MaxInt32))
	default:
		add(int64(math.MinInt64), int64(math.MaxInt64))
	}
	return out
}
