package protoyaml

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// scalarClass is what a scalar's text looks like before its field is known.
type scalarClass int

const (
	classText scalarClass = iota
	classNull
	classBool
	classInt
	classFloat
)

// classify tells what Envoy's YAML loader takes a scalar for: quoted is text,
// and unquoted text is tried as a boolean (YAML 1.1 words included), then as an
// integer (hexadecimal and octal included), then as a float.
func (d *decoder) classify(n *yaml.Node) scalarClass {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	switch {
	case n.Style&quoted != 0, n.Style&yaml.TaggedStyle != 0 && (n.Tag == "!!str" || n.Tag == "!!binary"):
		return classText
	case n.Tag == "!!null":
		return classNull
	}
	if _, ok := yamlBool(n.Value); ok {
		return classBool
	}
	if _, ok := yamlInt(n.Value); ok {
		return classInt
	}
	if _, ok := yamlFloat(n.Value); ok {
		return classFloat
	}
	return classText
}

// yamlBool parses the boolean words of YAML 1.1 in lower, upper or title case.
func yamlBool(s string) (value, ok bool) {
	lower := strings.ToLower(s)
	if s != lower && s != strings.ToUpper(s) && s[1:] != lower[1:] {
		return false, false
	}
	switch lower {
	case "true", "yes", "on", "y":
		return true, true
	case "false", "no", "off", "n":
		return false, true
	}
	return false, false
}

// integer is a 65-bit integer: what int64 and uint64 hold together.
type integer struct {
	neg bool
	abs uint64
}

func yamlInt(s string) (integer, bool) {
	body, neg := strings.CutPrefix(s, "-")
	if !neg {
		body = strings.TrimPrefix(s, "+")
	}
	if body == "" || body[0] < '0' || body[0] > '9' || strings.ContainsAny(body, "_bBoO") && !isHex(body) {
		return integer{}, false
	}
	abs, err := strconv.ParseUint(body, 0, 64)
	return integer{neg, abs}, err == nil
}

func isHex(s string) bool {
	return strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X")
}

// yamlFloat parses a decimal float, or one of YAML's words for infinity and NaN.
func yamlFloat(s string) (float64, bool) {
	switch strings.ToLower(strings.TrimLeft(s, "+-")) {
	case ".inf":
		return math.Inf(1 - 2*strings.Count(s[:1], "-")), true
	case ".nan":
		return math.NaN(), true
	}
	if s == "" || strings.Trim(s, "+-.eE0123456789") != "" || strings.Trim(s, "+-.eE") == "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// scalar decodes n as a value of field fd, which is no message.
func (d *decoder) scalar(n *yaml.Node, fd protoreflect.FieldDescriptor, at *frame) (protoreflect.Value, bool) {
	none := protoreflect.Value{}
	n = d.enter(n, at)
	if n == nil {
		return none, false
	}
	if n.Kind != yaml.ScalarNode {
		d.failAt(n, at, "", "expected %s, got %s", kindName(fd), d.describe(n, at))
		return none, false
	}
	switch fd.Kind() {
	case protoreflect.StringKind:
		return d.text(n, at)
	case protoreflect.BytesKind:
		return d.bytes(n, at)
	case protoreflect.EnumKind:
		return d.enum(n, fd, at)
	}
	v, ok := d.plain(n, fd.Kind())
	if !ok {
		d.failAt(n, at, "", "expected %s, got %s", kindName(fd), d.describe(n, at))
	}
	return v, ok
}

// plain parses booleans and numbers. Quoted text is accepted as JSON's mapping
// of protobuf does.
func (d *decoder) plain(n *yaml.Node, kind protoreflect.Kind) (v protoreflect.Value, ok bool) {
	class := d.classify(n)
	switch kind {
	case protoreflect.BoolKind:
		b, ok := yamlBool(n.Value)
		return protoreflect.ValueOfBool(b), ok && (class == classBool || n.Value == "true" || n.Value == "false")
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		i, ok := signed(n.Value, class, math.MinInt32, math.MaxInt32)
		return protoreflect.ValueOfInt32(int32(i)), ok
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		i, ok := signed(n.Value, class, math.MinInt64, math.MaxInt64)
		return protoreflect.ValueOfInt64(i), ok
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		i, ok := parseInteger(n.Value, class)
		return protoreflect.ValueOfUint32(uint32(i.abs)), ok && !i.neg && i.abs <= math.MaxUint32
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		i, ok := parseInteger(n.Value, class)
		return protoreflect.ValueOfUint64(i.abs), ok && !i.neg
	case protoreflect.FloatKind:
		f, ok := parseFloat(n.Value, class)
		fits := math.IsInf(f, 0) || math.IsNaN(f) || math.Abs(f) <= math.MaxFloat32
		return protoreflect.ValueOfFloat32(float32(f)), ok && fits
	default:
		f, ok := parseFloat(n.Value, class)
		return protoreflect.ValueOfFloat64(f), ok
	}
}

// parseInteger parses an integer, which may be quoted (decimal only) or written
// as a float without fraction.
func parseInteger(s string, class scalarClass) (integer, bool) {
	if class == classBool || class == classNull {
		return integer{}, false
	}
	if i, ok := yamlInt(s); ok && (class == classInt || !strings.ContainsAny(s, "xX")) {
		if class != classInt {
			body := strings.TrimLeft(s, "+-")
			abs, err := strconv.ParseUint(body, 10, 64)
			return integer{i.neg && abs != 0, abs}, err == nil
		}
		i.neg = i.neg && i.abs != 0
		return i, true
	}
	f, ok := yamlFloat(s)
	if !ok || f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
		return integer{}, false
	}
	return integer{f < 0, uint64(math.Abs(f))}, true
}

func signed(s string, class scalarClass, low, high int64) (int64, bool) {
	i, ok := parseInteger(s, class)
	switch {
	case !ok:
		return 0, false
	case i.neg:
		return -int64(i.abs), i.abs <= -uint64(low)
	}
	return int64(i.abs), i.abs <= uint64(high)
}

func parseFloat(s string, class scalarClass) (float64, bool) {
	switch s {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	if class == classInt {
		i, ok := yamlInt(s)
		f := float64(i.abs)
		if i.neg {
			f = -f
		}
		return f, ok
	}
	return yamlFloat(s)
}

// text decodes a string. Like Envoy it refuses what YAML takes for a boolean
// or a small integer; other unquoted scalars are taken as they are written.
func (d *decoder) text(n *yaml.Node, at *frame) (protoreflect.Value, bool) {
	ok := true
	switch d.classify(n) {
	case classBool, classNull:
		ok = false
	case classInt:
		i, _ := yamlInt(n.Value)
		ok = !d.json && i.abs > math.MaxInt32
	case classFloat:
		ok = !d.json
	}
	if !ok {
		hint := "quote it"
		if !at.sensitive() {
			hint = "quote it: " + strconv.Quote(shorten(n.Value))
		}
		d.failAt(n, at, hint, "expected a string, got %s", d.describe(n, at))
	}
	return protoreflect.ValueOfString(n.Value), ok
}

// bytes decodes base64 in the standard or the URL alphabet, padded or not.
func (d *decoder) bytes(n *yaml.Node, at *frame) (protoreflect.Value, bool) {
	clean := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "", " ", "").Replace(n.Value), "=")
	raw, err := base64.RawStdEncoding.DecodeString(clean)
	if err != nil {
		d.failAt(n, at, "", "expected bytes in base64: %v", err)
		return protoreflect.Value{}, false
	}
	return protoreflect.ValueOfBytes(raw), true
}

// enum decodes the name, in any case, or the number of an enum value.
func (d *decoder) enum(n *yaml.Node, fd protoreflect.FieldDescriptor, at *frame) (protoreflect.Value, bool) {
	values := fd.Enum().Values()
	if v := values.ByName(protoreflect.Name(n.Value)); v != nil {
		return protoreflect.ValueOfEnum(v.Number()), true
	}
	for i := range values.Len() {
		if v := values.Get(i); strings.EqualFold(string(v.Name()), n.Value) {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
	}
	number, isNumber := signed(n.Value, d.classify(n), math.MinInt32, math.MaxInt32)
	value := protoreflect.ValueOfEnum(protoreflect.EnumNumber(number))
	if isNumber && values.ByNumber(protoreflect.EnumNumber(number)) != nil {
		return value, true
	}
	e := Error{Line: n.Line, Column: n.Column, Path: at.path()}
	e.Reason = fmt.Sprintf("unknown value %q of enum %s", shorten(n.Value), fd.Enum().FullName())
	e.Suggestion = enumHint(fd.Enum(), n.Value)
	if d.opt.AllowUnknown {
		d.warn(e)
		return value, isNumber
	}
	d.spoil(e.Path)
	d.fail(e)
	return value, false
}
