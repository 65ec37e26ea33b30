package runtime

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func number(text string, n uint64) model.RuntimeValue {
	return model.RuntimeValue{Text: text, Is: model.RuntimeIsNumber | model.RuntimeIsDouble, Number: n, Double: float64(n)}
}

func flag(text string, on bool) model.RuntimeValue {
	return model.RuntimeValue{Text: text, Is: model.RuntimeIsBool, Bool: on}
}

func fraction(text string, numerator, denominator uint32) model.RuntimeValue {
	return model.RuntimeValue{Text: text, Is: model.RuntimeIsFraction, Numerator: numerator, Denominator: denominator}
}

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want model.RuntimeValue
	}{
		"number":           {"50", number("50", 50)},
		"largest":          {"18446744073709551615", number("18446744073709551615", 1<<64-1)},
		"white space":      {" 7\n", number(" 7\n", 7)},
		"fraction":         {"0.5", model.RuntimeValue{Text: "0.5", Is: model.RuntimeIsDouble, Double: 0.5}},
		"negative":         {"-3", model.RuntimeValue{Text: "-3", Is: model.RuntimeIsDouble, Double: -3}},
		"whole double":     {"3.0", number("3.0", 3)},
		"not a number":     {"nan", model.RuntimeValue{Text: "nan"}},
		"truth":            {"true", flag("true", true)},
		"untruth":          {"False", flag("False", false)},
		"text":             {"hello world", model.RuntimeValue{Text: "hello world"}},
		"empty":            {"", model.RuntimeValue{}},
		"percent":          {"{numerator: 5, denominator: TEN_THOUSAND}", fraction("{numerator: 5, denominator: TEN_THOUSAND}", 5, 10_000)},
		"json":             {`{"numerator": 5}`, fraction(`{"numerator": 5}`, 5, 100)},
		"block":            {"numerator: 7\ndenominator: MILLION", fraction("numerator: 7\ndenominator: MILLION", 7, 1_000_000)},
		"strange percent":  {"{numerator: -5}", model.RuntimeValue{Text: "{numerator: -5}"}},
		"unknown fraction": {"{numerator: 5, denominator: DOZEN}", model.RuntimeValue{Text: "{numerator: 5, denominator: DOZEN}"}},
		"no yaml":          {"{numerator", model.RuntimeValue{Text: "{numerator"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Parse(tc.text)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func layerOf(t testing.TB, json string) *structpb.Struct {
	t.Helper()
	s := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(json), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFlatten(t *testing.T) {
	for name, tc := range map[string]struct {
		json string
		want map[string]model.RuntimeValue
		err  string
	}{
		"nested":        {`{"a": {"b": {"c": 1}, "d": true}, "e.f": "2"}`, map[string]model.RuntimeValue{"a.b.c": number("1", 1), "a.d": flag("true", true), "e.f": number("2", 2)}, ""},
		"large number":  {`{"a": 1000000}`, map[string]model.RuntimeValue{"a": number("1e+06", 1_000_000)}, ""},
		"percent":       {`{"a": {"numerator": 5, "denominator": "MILLION"}}`, map[string]model.RuntimeValue{"a": fraction(`{"denominator":"MILLION","numerator":5}`, 5, 1_000_000)}, ""},
		"by number":     {`{"a": {"numerator": 5, "denominator": 1}}`, map[string]model.RuntimeValue{"a": fraction(`{"denominator":1,"numerator":5}`, 5, 10_000)}, ""},
		"empty struct":  {`{"a": {}}`, map[string]model.RuntimeValue{"a": {Text: "{}"}}, ""},
		"list":          {`{"a": [1]}`, nil, "runtime value of a: must be a number, a truth value, a text or a struct"},
		"null":          {`{"a": {"b": null}}`, nil, "runtime value of a.b: must be a number, a truth value, a text or a struct"},
		"half percent":  {`{"a": {"numerator": 0.5}}`, nil, "runtime value of a: numerator must be a whole number from 0 to 4294967295"},
		"wrong percent": {`{"a": {"numerator": 5, "denominator": "DOZEN"}}`, nil, "runtime value of a: denominator must be HUNDRED, TEN_THOUSAND or MILLION"},
		"odd percent":   {`{"a": {"numerator": 5, "b": 1}}`, nil, `runtime value of a: unknown field "b" of a fractional percent`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Flatten(layerOf(t, tc.json))
			if text := errorText(err); text != tc.err {
				t.Fatalf("error %q, want %q", text, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"1", "0.5", "true", "{numerator: 5, denominator: MILLION}", "text", "numerator: &a [*a]", "1e300"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := Parse(text)
		if v.Text != text {
			t.Errorf("text %q became %q", text, v.Text)
		}
		if v.Is&model.RuntimeIsFraction != 0 && v.Denominator == 0 {
			t.Error("a fraction of nothing")
		}
	})
}
