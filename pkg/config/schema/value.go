package schema

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The forms of values that are not plain JSON types.
const (
	durationPattern = `^-?[0-9]+(\.[0-9]{1,9})?s$`
	integerPattern  = `^-?[0-9]+$`
)

func text() map[string]any    { return map[string]any{"type": "string"} }
func boolean() map[string]any { return map[string]any{"type": []any{"boolean", "string"}} }

// integer is a whole number, which may be written in quotes.
func integer(low, high any) map[string]any {
	number := map[string]any{"type": "integer"}
	if low != nil {
		number["minimum"] = low
	}
	if high != nil {
		number["maximum"] = high
	}
	return map[string]any{"anyOf": []any{number, map[string]any{"type": "string", "pattern": integerPattern}}}
}

func number() map[string]any {
	return map[string]any{"anyOf": []any{map[string]any{"type": "number"}, text()}}
}

// value is the schema of one value of a field.
func (g *generator) value(fd protoreflect.FieldDescriptor) map[string]any {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return g.reference(fd.Message())
	case protoreflect.EnumKind:
		return g.enum(fd.Enum())
	}
	return scalar(fd.Kind())
}

func scalar(kind protoreflect.Kind) map[string]any {
	switch kind {
	case protoreflect.BoolKind:
		return boolean()
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return integer(0, 4294967295)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return integer(-2147483648, 2147483647)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return integer(0, nil)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return integer(nil, nil)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return number()
	}
	return text()
}

// enum is the schema of an enum: its names in upper case are completed, and any case or a number is taken.
func (g *generator) enum(ed protoreflect.EnumDescriptor) map[string]any {
	name := string(ed.FullName())
	if _, known := g.defs[name]; !known {
		var values, low []any
		for i := range ed.Values().Len() {
			n := string(ed.Values().Get(i).Name())
			values = append(values, n)
			if l := strings.ToLower(n); l != n {
				low = append(low, l)
			}
		}
		g.defs[name] = map[string]any{"anyOf": []any{map[string]any{"enum": values}, map[string]any{"enum": low}, map[string]any{"type": "integer"}}}
		if len(low) == 0 {
			g.defs[name] = map[string]any{"anyOf": []any{map[string]any{"enum": values}, map[string]any{"type": "integer"}}}
		}
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

// wellKnown is the schema of a type of protobuf's own that has a JSON form of its own; nil for other messages.
func (g *generator) wellKnown(md protoreflect.MessageDescriptor) map[string]any {
	if md.FullName().Parent() != "google.protobuf" {
		return nil
	}
	switch md.Name() {
	case "Any":
		return g.any()
	case "Duration":
		return map[string]any{"anyOf": []any{
			map[string]any{"type": "string", "pattern": durationPattern, "description": "seconds with an s, such as 0.25s"},
			map[string]any{"type": "object", "properties": map[string]any{"seconds": integer(nil, nil), "nanos": integer(nil, nil)}, "additionalProperties": false},
		}}
	case "Timestamp":
		return map[string]any{"type": "string", "format": "date-time"}
	case "FieldMask":
		return text()
	case "Struct":
		return map[string]any{"type": []any{"object", "null"}}
	case "ListValue":
		return map[string]any{"type": "array"}
	case "Value":
		return map[string]any{}
	case "Empty":
		return map[string]any{"type": []any{"object", "null"}, "additionalProperties": false}
	case "BoolValue", "BytesValue", "DoubleValue", "FloatValue", "Int32Value", "Int64Value", "StringValue", "UInt32Value", "UInt64Value":
		plain := scalar(md.Fields().ByName("value").Kind())
		return map[string]any{"anyOf": []any{
			plain, map[string]any{"type": "object", "properties": map[string]any{"value": plain}, "additionalProperties": false}, map[string]any{"type": "null"},
		}}
	}
	return nil
}

// any is the definition of an Any: the known extensions by their "@type".
func (g *generator) any() map[string]any {
	const name = "google.protobuf.Any"
	if _, known := g.defs[name]; !known {
		g.defs[name] = nil
		s := g.tagged(g.opt.Extensions)
		delete(s, "required") // an empty mapping is an Any that is not set
		s["type"] = []any{"object", "null"}
		g.defs[name] = s
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

func isDeprecated(fd protoreflect.FieldDescriptor) bool {
	o, ok := fd.Options().(*descriptorpb.FieldOptions)
	return ok && o.GetDeprecated()
}
