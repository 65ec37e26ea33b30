package protoyaml

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxDurationSeconds is the bound of google.protobuf.Duration: 10,000 years.
const maxDurationSeconds = 315_576_000_000

// wellKnown decodes n into m when m is one of protobuf's well-known types that
// have a form of their own in JSON, and reports whether it did.
func (d *decoder) wellKnown(n *yaml.Node, m protoreflect.Message, at *frame) bool {
	name := m.Descriptor().FullName()
	if name.Parent() != "google.protobuf" {
		return false
	}
	switch name.Name() {
	case "Any":
		d.any(n, m, at)
	case "Struct":
		d.structValue(n, m, at)
	case "ListValue":
		d.listValue(n, m, at)
	case "Value":
		d.value(n, m, at)
	case "Duration", "Timestamp", "FieldMask":
		if n.Kind == yaml.MappingNode {
			return false
		}
		d.textual(n, m, at)
	case "BoolValue", "BytesValue", "DoubleValue", "FloatValue", "Int32Value", "Int64Value", "StringValue", "UInt32Value", "UInt64Value":
		if n.Kind == yaml.MappingNode {
			return false
		}
		fd := m.Descriptor().Fields().ByName("value")
		if v, ok := d.scalar(n, fd, at); ok {
			m.Set(fd, v)
		}
	default:
		return false
	}
	return true
}

// hasJSONForm reports whether a message inside an Any is written under the key
// "value" and not field by field.
func hasJSONForm(name protoreflect.FullName) bool {
	if name.Parent() != "google.protobuf" {
		return false
	}
	switch name.Name() {
	case "Any", "Struct", "ListValue", "Value", "Duration", "Timestamp", "FieldMask", "Empty",
		"BoolValue", "BytesValue", "DoubleValue", "FloatValue", "Int32Value", "Int64Value", "StringValue", "UInt32Value", "UInt64Value":
		return true
	}
	return false
}

// textual decodes the types that are written as one string.
func (d *decoder) textual(n *yaml.Node, m protoreflect.Message, at *frame) {
	switch m.Descriptor().Name() {
	case "Duration":
		seconds, nanos, ok := parseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || !ok {
			d.failAt(n, at, durationHint(n.Value), "expected a duration such as 0.25s, got %s", d.describe(n, at))
			return
		}
		setSecondsNanos(m, seconds, nanos)
	case "Timestamp":
		t, err := time.Parse(time.RFC3339Nano, n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
			d.failAt(n, at, "", "expected a timestamp such as 2025-01-31T12:00:00Z, got %s", d.describe(n, at))
			return
		}
		setSecondsNanos(m, t.Unix(), int32(t.Nanosecond()))
	default:
		if n.Kind != yaml.ScalarNode {
			d.failAt(n, at, "", "expected field paths separated by commas, got %s", d.describe(n, at))
			return
		}
		fd := m.Descriptor().Fields().ByName("paths")
		for _, p := range strings.Split(n.Value, ",") {
			if p = strings.TrimSpace(p); p != "" {
				m.Mutable(fd).List().Append(protoreflect.ValueOfString(snakeCase(p)))
			}
		}
	}
}

func setSecondsNanos(m protoreflect.Message, seconds int64, nanos int32) {
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("seconds"), protoreflect.ValueOfInt64(seconds))
	m.Set(fields.ByName("nanos"), protoreflect.ValueOfInt32(nanos))
}

// parseDuration parses protobuf's JSON form of a duration: decimal seconds with
// up to nine digits after the point, and an s.
func parseDuration(s string) (seconds int64, nanos int32, ok bool) {
	body, ok := strings.CutSuffix(s, "s")
	if !ok {
		return 0, 0, false
	}
	body, neg := strings.CutPrefix(body, "-")
	whole, fraction, point := strings.Cut(body, ".")
	if whole == "" && fraction == "" || len(fraction) > 9 || point && fraction == "" {
		return 0, 0, false
	}
	if strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, 0, false
	}
	if whole != "" {
		var err error
		if seconds, err = strconv.ParseInt(whole, 10, 64); err != nil || seconds > maxDurationSeconds {
			return 0, 0, false
		}
	}
	n, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 32)
	nanos = int32(n)
	if neg {
		return -seconds, -nanos, true
	}
	return seconds, nanos, true
}

// durationHint rewrites what is a duration in Go's or a unit-less notation.
func durationHint(s string) string {
	if !regexp.MustCompile(`^-?[0-9.]+([a-zµ]+[0-9.]*)*$`).MatchString(s) {
		return ""
	}
	for _, unit := range []string{"", "s"} {
		if t, err := time.ParseDuration(s + unit); err == nil {
			return "did you mean " + strconv.FormatFloat(t.Seconds(), 'f', -1, 64) + "s?"
		}
	}
	return ""
}

// snakeCase converts a path in camelCase to proto names; snake_case stays.
func snakeCase(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// structValue decodes a google.protobuf.Struct.
func (d *decoder) structValue(n *yaml.Node, m protoreflect.Message, at *frame) {
	if n.Kind != yaml.MappingNode {
		d.failAt(n, at, "", "expected a mapping, got %s", d.describe(n, at))
		return
	}
	fields := m.Mutable(m.Descriptor().Fields().ByName("fields")).Map()
	for _, p := range d.pairs(n, at, verbatim) {
		v := fields.NewValue()
		d.message(p.value, v.Message(), at.raw(p.key.Value))
		fields.Set(protoreflect.ValueOfString(p.key.Value).MapKey(), v)
	}
}

// listValue decodes a google.protobuf.ListValue.
func (d *decoder) listValue(n *yaml.Node, m protoreflect.Message, at *frame) {
	if n.Kind != yaml.SequenceNode {
		d.failAt(n, at, "", "expected a list, got %s", d.describe(n, at))
		return
	}
	values := m.Mutable(m.Descriptor().Fields().ByName("values")).List()
	for i, item := range n.Content {
		if d.budget < 0 {
			return
		}
		elem := &frame{parent: at, index: i, depth: at.depth + 1}
		d.message(item, values.AppendMutable().Message(), elem)
	}
}

// value decodes a google.protobuf.Value. Infinity and NaN, which JSON cannot
// express, become the strings that protobuf's JSON uses for them.
func (d *decoder) value(n *yaml.Node, m protoreflect.Message, at *frame) {
	fields := m.Descriptor().Fields()
	set := func(name protoreflect.Name, v protoreflect.Value) { m.Set(fields.ByName(name), v) }
	switch n.Kind {
	case yaml.MappingNode:
		d.structValue(n, m.Mutable(fields.ByName("struct_value")).Message(), at)
		return
	case yaml.SequenceNode:
		d.listValue(n, m.Mutable(fields.ByName("list_value")).Message(), at)
		return
	}
	class := d.classify(n)
	switch class {
	case classNull:
		set("null_value", protoreflect.ValueOfEnum(0))
	case classBool:
		b, _ := yamlBool(n.Value)
		set("bool_value", protoreflect.ValueOfBool(b))
	case classInt, classFloat:
		f, _ := parseFloat(n.Value, class)
		if word := nonFinite(f); word != "" {
			set("string_value", protoreflect.ValueOfString(word))
			return
		}
		set("number_value", protoreflect.ValueOfFloat64(f))
	default:
		set("string_value", protoreflect.ValueOfString(n.Value))
	}
}

// nonFinite returns protobuf's JSON word for infinities and NaN, else "".
func nonFinite(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return ""
}
