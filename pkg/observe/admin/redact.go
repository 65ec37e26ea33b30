package admin

import (
	"errors"
	"strings"

	"github.com/cncf/xds/go/udpa/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// googleCalls are the call credentials of google_grpc.
const googleCalls = "envoy.config.core.v3.GrpcService.GoogleGrpc.CallCredentials."

// redactedText stands for sensitive text and bytes, as in Envoy.
const redactedText = "[redacted]"

// redacted returns a copy of m without secrets: whatever the API marks as sensitive (udpa.annotations.sensitive), also inside
// packed messages. What cannot be looked into is emptied.
func redacted(m proto.Message) proto.Message {
	out := proto.Clone(m)
	redactMessage(out.ProtoReflect(), false)
	return out
}

func redactMessage(m protoreflect.Message, sensitive bool) {
	switch m.Descriptor().FullName() {
	case "google.protobuf.Any":
		if packed, ok := m.Interface().(*anypb.Any); ok {
			redactAny(packed, sensitive)
			return
		}
	case "udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct":
		redactTypedStruct(m, sensitive)
		return
	}
	m.SetUnknown(nil) // a field that is not known may be a secret, and is not printed anyhow
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		redactField(m, field, value, sensitive || isSensitive(field))
		return true
	})
}

func isSensitive(field protoreflect.FieldDescriptor) bool {
	switch field.FullName() { // secrets that the API forgot to mark
	case googleCalls + "access_token", googleCalls + "google_refresh_token",
		googleCalls + "ServiceAccountJWTAccessCredentials.json_key", googleCalls + "GoogleIAMCredentials.authorization_token":
		return true
	}
	options := field.Options()
	if options == nil || !proto.HasExtension(options, annotations.E_Sensitive) {
		return false
	}
	marked, ok := proto.GetExtension(options, annotations.E_Sensitive).(bool)
	return ok && marked
}

func redactField(m protoreflect.Message, field protoreflect.FieldDescriptor, value protoreflect.Value, sensitive bool) {
	switch {
	case field.IsMap():
		if field.MapValue().Message() != nil {
			value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				redactMessage(v.Message(), sensitive)
				return true
			})
			return
		}
		if sensitive {
			redactMap(m, field, value.Map())
		}
	case field.IsList():
		list := value.List()
		for i := range list.Len() {
			if field.Message() != nil {
				redactMessage(list.Get(i).Message(), sensitive)
			} else if sensitive {
				list.Set(i, redactedValue(field))
			}
		}
	case field.Message() != nil:
		redactMessage(value.Message(), sensitive)
	case sensitive:
		if v := redactedValue(field); field.Kind() == protoreflect.StringKind || field.Kind() == protoreflect.BytesKind {
			m.Set(field, v)
		} else {
			m.Clear(field)
		}
	}
}

// redactMap hides the values of a map of scalars.
func redactMap(m protoreflect.Message, field protoreflect.FieldDescriptor, values protoreflect.Map) {
	kind := field.MapValue().Kind()
	if kind != protoreflect.StringKind && kind != protoreflect.BytesKind {
		m.Clear(field)
		return
	}
	values.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		values.Set(k, redactedValue(field.MapValue()))
		return true
	})
}

// redactedValue stands for a sensitive value of a field: the text for strings and bytes, else the default.
func redactedValue(field protoreflect.FieldDescriptor) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(redactedText)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(redactedText))
	}
	return field.Default()
}

// redactAny redacts what is packed. Content that does not decode is dropped. What only weir knows, and what not even weir knows, is
// shown as a protobuf Struct that names the type: clients that read /config_dump strictly, such as istioctl and egctl, refuse the
// whole of it for one type that they do not know.
func redactAny(packed *anypb.Any, sensitive bool) {
	content, err := packed.UnmarshalNew()
	if errors.Is(err, protoregistry.NotFound) {
		standIn(packed, nil)
		return
	}
	if err != nil {
		packed.Value = nil
		return
	}
	redactMessage(content.ProtoReflect(), sensitive)
	if strings.HasPrefix(string(content.ProtoReflect().Descriptor().FullName()), "weir.") {
		standIn(packed, content)
		return
	}
	if packed.Value, err = (proto.MarshalOptions{AllowPartial: true, Deterministic: true}).Marshal(content); err != nil {
		packed.Value = nil
	}
}

// standIn makes packed a Struct with the fields of content, if there is any, and its type.
func standIn(packed *anypb.Any, content proto.Message) {
	fields := &structpb.Struct{}
	if content != nil {
		if raw, err := protoyaml.Marshal(content, ""); err != nil || fields.UnmarshalJSON(raw) != nil {
			fields = &structpb.Struct{}
		}
	}
	if fields.Fields == nil {
		fields.Fields = map[string]*structpb.Value{}
	}
	fields.Fields["@type"] = structpb.NewStringValue(strings.ToValidUTF8(packed.GetTypeUrl(), "?"))
	value, err := (proto.MarshalOptions{Deterministic: true}).Marshal(fields)
	if err != nil {
		value = nil
	}
	packed.TypeUrl, packed.Value = typeURL(fields), value
}

// redactTypedStruct redacts the message that a typed struct stands for, as its type says. The value of one that is not known,
// or that does not fit its type, is dropped.
func redactTypedStruct(m protoreflect.Message, sensitive bool) {
	field := m.Descriptor().Fields().ByName("value")
	value, ok := typedStructValue(m.Interface(), sensitive)
	if !ok {
		m.Clear(field)
		return
	}
	m.Set(field, protoreflect.ValueOfMessage(value.ProtoReflect()))
}

func typedStructValue(m proto.Message, sensitive bool) (*structpb.Struct, bool) {
	packed, err := anypb.New(m)
	if err != nil {
		return nil, false
	}
	content, err := protoyaml.UnwrapTypedStruct(packed, protoyaml.Options{AllowUnknown: true, SkipValidation: true})
	if err != nil {
		return nil, false
	}
	redactMessage(content.ProtoReflect(), sensitive)
	raw, err := protojson.MarshalOptions{UseProtoNames: true, AllowPartial: true}.Marshal(content)
	if err != nil {
		return nil, false
	}
	value := &structpb.Struct{}
	return value, protojson.Unmarshal(raw, value) == nil
}

// emptyUnprintable empties the packed messages in m that cannot be printed.
func emptyUnprintable(m protoreflect.Message) {
	visitAnys(m, func(packed *anypb.Any) {
		if _, err := protoyaml.Marshal(packed, ""); err != nil {
			packed.Value = nil
		}
	})
}

// visitAnys calls f for every packed message in m, the innermost first, and packs each again after its content was visited.
func visitAnys(m protoreflect.Message, f func(*anypb.Any)) {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		if content, err := packed.UnmarshalNew(); err == nil {
			visitAnys(content.ProtoReflect(), f)
			if value, err := (proto.MarshalOptions{AllowPartial: true}).Marshal(content); err == nil {
				packed.Value = value
			}
		}
		f(packed)
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					visitAnys(v.Message(), f)
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				visitAnys(value.List().Get(i).Message(), f)
			}
		default:
			visitAnys(value.Message(), f)
		}
		return true
	})
}
