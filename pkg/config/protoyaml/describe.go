package protoyaml

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxShown is how many bytes of a value an error text repeats.
const maxShown = 60

// shorten cuts s to what an error text may repeat.
func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// describe names what n is, for "expected ..., got ...". The values of
// sensitive fields are not shown.
func (d *decoder) describe(n *yaml.Node, at *frame) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return d.describe(follow(n), at)
	}
	class := d.classify(n)
	name := map[scalarClass]string{
		classText: "the string", classBool: "the boolean", classInt: "the number", classFloat: "the number",
	}[class]
	switch {
	case class == classNull:
		return "null"
	case at.sensitive():
		return name + " (not shown)"
	case class == classText:
		return name + " " + strconv.Quote(shorten(n.Value))
	}
	return name + " " + shorten(n.Value)
}

// kindName names the values that a field takes.
func kindName(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.EnumKind:
		return fmt.Sprintf("a value of enum %s", fd.Enum().FullName())
	case protoreflect.StringKind:
		return "a string"
	case protoreflect.BytesKind:
		return "bytes in base64"
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return "an integer from -2147483648 to 2147483647"
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "an integer from 0 to 4294967295"
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return "a 64-bit integer"
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "a 64-bit integer that is not negative"
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "a number"
	}
	return "a mapping"
}
