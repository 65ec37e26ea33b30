package protoyaml

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// FuzzParseJSON compares the JSON parser with encoding/json: both accept the
// same texts, and the nodes hold the same values.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, ` {"a": [1, -2.5e+3, true, false, null, "x\n\u00e9\ud83d\ude00\/"]} `, `[1,]`, `{"a":1,}`, `{,}`, `[01]`, `"a`, "\"\t\"",
		`nul`, `truex`, `{"a" 1}`, `{a: 1}`, `[1 2]`, `1 2`, `-`, `1.`, `"\x"`, `"\ud800"`, "\ufeff{}", ``, "\xff", "[\n\t[\n],\r\n\"é\" ,x]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if strings.HasPrefix(src, "\ufeff") || strings.Count(src, "[")+strings.Count(src, "{") > maxDepth {
			return
		}
		root, err := parseJSON([]byte(src))
		if err != nil {
			if valid := json.Valid([]byte(src)); valid && !strings.Contains(err.Reason, "UTF-8") {
				t.Fatalf("%q is valid, got %v", src, err)
			}
			return
		}
		var want any
		if err := json.Unmarshal([]byte(src), &want); err != nil {
			if strings.Contains(err.Error(), "cannot unmarshal number") {
				return
			}
			t.Fatalf("%q is accepted, but %v", src, err)
		}
		if diff := cmp.Diff(want, plainValue(root)); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", src, diff)
		}
	})
}

// plainValue returns what encoding/json would decode a node to.
func plainValue(n *yaml.Node) any {
	var v any
	switch {
	case n.Kind == yaml.MappingNode:
		m := make(map[string]any)
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plainValue(n.Content[i+1])
		}
		return m
	case n.Kind == yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			list = append(list, plainValue(c))
		}
		return list
	case n.Tag == "!!str":
		return n.Value
	}
	if err := json.Unmarshal([]byte(n.Value), &v); err != nil {
		return err
	}
	return v
}

func TestParseJSONErrors(t *testing.T) {
	deep := strings.Repeat("[", maxJSONDepth+2)
	for src, want := range map[string]string{
		"{\n  \"é\": 1 x": "line 2:10: not valid JSON: expected a comma or }, found 'x'",
		"[1, 2":           "line 1:6: not valid JSON: expected a comma or ], found end of the text",
		"[01]":            `line 1:2: not valid JSON: "01" is not a number`,
		"[\"a\nb\"]":      "line 1:2: not valid JSON: a string must escape its control characters",
		"[] []":           "line 1:4: not valid JSON: unexpected '[' after the end of the value",
		"[\"\\q\"]":       "line 1:2: not valid JSON: bad escape in string",
		"":                "line 1:1: not valid JSON: expected a value, found end of the text",
		"\xff":            "not valid JSON: the text is not UTF-8",
		deep:              "line 1:1002: not valid JSON: nested more than 1000 levels deep",
	} {
		_, err := parseJSON([]byte(src))
		if err == nil {
			t.Errorf("%.20q: no error", src)
		} else if err.Error() != want {
			t.Errorf("%.20q: got %s, want %s", src, err, want)
		}
	}
}

func TestYAMLScalars(t *testing.T) {
	d := newDecoder("", 0, false, Options{})
	for text, want := range map[string]scalarClass{
		"true": classBool, "Yes": classBool, "OFF": classBool, "y": classBool, "yES": classText, "truth": classText,
		"0": classInt, "-7": classInt, "+7": classInt, "0x1F": classInt, "0b1": classText, "0o7": classText, "017": classInt, "1_000": classText,
		"0xb": classInt, "18446744073709551615": classInt, "18446744073709551616": classFloat,
		"1.5": classFloat, "1e3": classFloat, ".5": classFloat, "-.inf": classFloat, ".NaN": classFloat, "1.2.3": classText, "-": classText, "e": classText, ".": classText,
		"": classText, "1.2.3.4": classText, "2025-01-01": classText, "é": classText,
	} {
		if got := d.classify(&yaml.Node{Kind: yaml.ScalarNode, Value: text}); got != want {
			t.Errorf("%q is class %d, want %d", text, got, want)
		}
		if got := d.classify(&yaml.Node{Kind: yaml.ScalarNode, Value: text, Style: yaml.SingleQuotedStyle}); got != classText {
			t.Errorf("quoted %q is class %d", text, got)
		}
	}
}

func TestSigned(t *testing.T) {
	tests := []struct {
		text      string
		class     scalarClass
		low, high int64
		want      int64
		ok        bool
	}{
		{"-9223372036854775808", classInt, math.MinInt64, math.MaxInt64, math.MinInt64, true},
		{"9223372036854775807", classText, math.MinInt64, math.MaxInt64, math.MaxInt64, true},
		{"9223372036854775808", classInt, math.MinInt64, math.MaxInt64, 0, false},
		{"-2147483649", classInt, math.MinInt32, math.MaxInt32, 0, false},
		{"2147483647", classInt, math.MinInt32, math.MaxInt32, math.MaxInt32, true},
		{"010", classInt, math.MinInt32, math.MaxInt32, 8, true},
		{"010", classText, math.MinInt32, math.MaxInt32, 10, true},
		{"0x10", classText, math.MinInt32, math.MaxInt32, 0, false},
		{"1e3", classFloat, math.MinInt32, math.MaxInt32, 1000, true},
		{"1.5", classFloat, math.MinInt32, math.MaxInt32, 0, false},
		{"1e30", classFloat, math.MinInt64, math.MaxInt64, 0, false},
		{"-0", classInt, 0, 10, 0, true},
		{"true", classBool, 0, 10, 0, false},
	}
	for _, tt := range tests {
		got, ok := signed(tt.text, tt.class, tt.low, tt.high)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s (class %d): got %d, %v; want %d, %v", tt.text, tt.class, got, ok, tt.want, tt.ok)
		}
	}
}

func TestParseDuration(t *testing.T) {
	tests := []struct {
		text    string
		seconds int64
		nanos   int32
		ok      bool
	}{
		{"0s", 0, 0, true},
		{"0.25s", 0, 250_000_000, true},
		{".5s", 0, 500_000_000, true},
		{"-1.5s", -1, -500_000_000, true},
		{"1.000000001s", 1, 1, true},
		{"315576000000s", 315576000000, 0, true},
		{"315576000001s", 0, 0, false},
		{"1.0000000001s", 0, 0, false},
		{"1.s", 0, 0, false},
		{"s", 0, 0, false},
		{"--1s", 0, 0, false},
		{"1", 0, 0, false},
		{"1ms", 0, 0, false},
	}
	for _, tt := range tests {
		seconds, nanos, ok := parseDuration(tt.text)
		if ok != tt.ok || ok && (seconds != tt.seconds || nanos != tt.nanos) {
			t.Errorf("%s: got %d, %d, %v", tt.text, seconds, nanos, ok)
		}
	}
	for text, want := range map[string]string{
		"250ms": "did you mean 0.25s?", "5": "did you mean 5s?", "1h30m": "did you mean 5400s?", "soon": "", "5 s": "", "1d": "",
	} {
		if got := durationHint(text); got != want {
			t.Errorf("hint for %s is %q, want %q", text, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	tests := []struct {
		a, b  string
		limit int
		want  int
	}{
		{"", "", 3, 0},
		{"", "abc", 3, 3},
		{"adress", "address", 3, 1},
		{"filetr", "filter", 3, 1},
		{"kitten", "sitting", 3, 3},
		{"abcdef", "uvwxyz", 2, 3},
	}
	for _, tt := range tests {
		if got := editDistance(tt.a, tt.b, tt.limit); got != tt.want {
			t.Errorf("%q to %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// TestStructNode checks that a Struct gives the nodes that its JSON gives.
func TestStructNode(t *testing.T) {
	s, err := structpb.NewStruct(map[string]any{"a": []any{1, -2.5, "x", true, nil}, "b": map[string]any{"c": 1e21}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(s.AsMap())
	if err != nil {
		t.Fatal(err)
	}
	want, jsonErr := parseJSON(raw)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	if diff := cmp.Diff(plainValue(want), plainValue(structNode(s))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
