package message

import "testing"

func TestParseLength(t *testing.T) {
	for _, tc := range []struct {
		value string
		want  int64
		ok    bool
	}{
		{"0", 0, true},
		{"42", 42, true},
		{"007", 7, true},
		{"9223372036854775807", 1<<63 - 1, true},
		{"9223372036854775808", 0, false},
		{"99999999999999999999", 0, false},
		{"", 0, false},
		{" 1", 0, false},
		{"+1", 0, false},
		{"-1", 0, false},
		{"1,1", 0, false},
		{"0x1", 0, false},
		{"\u0661", 0, false}, // a digit, but not an ASCII one
	} {
		if n, ok := ParseLength(tc.value); n != tc.want || ok != tc.ok {
			t.Errorf("%q: %d, %t; want %d, %t", tc.value, n, ok, tc.want, tc.ok)
		}
	}
}
