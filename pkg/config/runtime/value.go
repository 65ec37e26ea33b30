package runtime

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// maxDepth bounds how deep structs and directories nest; it is Envoy's bound for directories.
const maxDepth = 16

// denominators are the names of FractionalPercent.DenominatorType in the order of their numbers.
var denominators = [...]struct {
	name  string
	value uint32
}{{"HUNDRED", 100}, {"TEN_THOUSAND", 10_000}, {"MILLION", 1_000_000}}

// Parse reads a value that was given as text, in a file or to the admin interface: a YAML scalar, or the mapping of a
// fractional percent. What is neither is a text, which no number is read from.
func Parse(text string) model.RuntimeValue {
	v := model.RuntimeValue{Text: text}
	trimmed := strings.TrimSpace(text)
	switch trimmed {
	case "true", "True", "TRUE":
		v.Is, v.Bool = model.RuntimeIsBool, true
		return v
	case "false", "False", "FALSE":
		v.Is = model.RuntimeIsBool
		return v
	}
	if n, err := strconv.ParseUint(trimmed, 10, 64); err == nil {
		v.Is, v.Number, v.Double = model.RuntimeIsNumber|model.RuntimeIsDouble, n, float64(n)
		return v
	}
	if f, err := strconv.ParseFloat(trimmed, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
		setNumber(&v, f)
		return v
	}
	if strings.Contains(trimmed, "numerator") {
		parseFraction(&v, trimmed)
	}
	return v
}

// parseFraction reads the mapping of a fractional percent, unless text is something else.
func parseFraction(v *model.RuntimeValue, text string) {
	var m map[string]any
	if yaml.Unmarshal([]byte(text), &m) != nil {
		return
	}
	s, err := structpb.NewStruct(m)
	if err == nil {
		_ = setFraction(v, s) // any other mapping is a text
	}
}

func setNumber(v *model.RuntimeValue, f float64) {
	v.Is |= model.RuntimeIsDouble
	v.Double = f
	if f >= 0 && f < 1<<63 && f == math.Trunc(f) {
		v.Is |= model.RuntimeIsNumber
		v.Number = uint64(f)
	}
}

// setFraction reads a struct as a fractional percent.
func setFraction(v *model.RuntimeValue, s *structpb.Struct) error {
	numerator, denominator := 0.0, denominators[0].value
	for key, field := range s.GetFields() {
		switch key {
		case "numerator":
			n, ok := field.GetKind().(*structpb.Value_NumberValue)
			if !ok || n.NumberValue < 0 || n.NumberValue > math.MaxUint32 || n.NumberValue != math.Trunc(n.NumberValue) {
				return fmt.Errorf("numerator must be a whole number from 0 to %d", uint32(math.MaxUint32))
			}
			numerator = n.NumberValue
		case "denominator":
			d, ok := denominatorOf(field)
			if !ok {
				return fmt.Errorf("denominator must be HUNDRED, TEN_THOUSAND or MILLION")
			}
			denominator = d
		default:
			return fmt.Errorf("unknown field %q of a fractional percent", key)
		}
	}
	v.Is |= model.RuntimeIsFraction
	v.Numerator, v.Denominator = uint32(numerator), denominator
	return nil
}

func denominatorOf(v *structpb.Value) (uint32, bool) {
	for i, d := range denominators {
		switch k := v.GetKind().(type) {
		case *structpb.Value_StringValue:
			if strings.EqualFold(k.StringValue, d.name) {
				return d.value, true
			}
		case *structpb.Value_NumberValue:
			if k.NumberValue == float64(i) {
				return d.value, true
			}
		}
	}
	return 0, false
}

// Flatten returns the values of a struct by dotted key. A struct that is a fractional percent is one value, and so is an empty
// one. Lists and nulls are errors, as in Envoy.
func Flatten(s *structpb.Struct) (map[string]model.RuntimeValue, error) {
	out := map[string]model.RuntimeValue{}
	if err := flatten(out, "", s, 0); err != nil {
		return nil, err
	}
	return out, nil
}

func flatten(into map[string]model.RuntimeValue, prefix string, s *structpb.Struct, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("runtime value of %s: structs nest deeper than %d", prefix, maxDepth)
	}
	for k, v := range s.GetFields() {
		key := k
		if prefix != "" {
			key = prefix + "." + k
		}
		if err := flattenValue(into, key, v, depth); err != nil {
			return err
		}
	}
	return nil
}

func flattenValue(into map[string]model.RuntimeValue, key string, v *structpb.Value, depth int) error {
	switch k := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		out := model.RuntimeValue{Text: strconv.FormatFloat(k.NumberValue, 'g', 6, 64)}
		setNumber(&out, k.NumberValue)
		into[key] = out
	case *structpb.Value_BoolValue:
		into[key] = model.RuntimeValue{Text: strconv.FormatBool(k.BoolValue), Is: model.RuntimeIsBool, Bool: k.BoolValue}
	case *structpb.Value_StringValue:
		into[key] = Parse(k.StringValue)
	case *structpb.Value_StructValue:
		fields := k.StructValue.GetFields()
		_, numerator := fields["numerator"]
		_, denominator := fields["denominator"]
		if len(fields) > 0 && !numerator && !denominator {
			return flatten(into, key, k.StructValue, depth+1)
		}
		out := model.RuntimeValue{Text: compact(k.StructValue)}
		if len(fields) > 0 {
			if err := setFraction(&out, k.StructValue); err != nil {
				return fmt.Errorf("runtime value of %s: %w", key, err)
			}
		}
		into[key] = out
	default:
		return fmt.Errorf("runtime value of %s: must be a number, a truth value, a text or a struct", key)
	}
	return nil
}

// compact is a struct as one line of JSON.
func compact(s *structpb.Struct) string {
	text, err := json.Marshal(s.AsMap())
	if err != nil {
		return "" // numbers that JSON has not, which setFraction refuses
	}
	return string(text)
}
