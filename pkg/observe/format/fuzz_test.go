package format_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/weir-proxy/weir/pkg/observe/format"
)

func FuzzCompile(f *testing.F) {
	for _, s := range []string{format.Default, "%REQ(a?b):3%", "%START_TIME(%E3S%%)%", "%%", "%DYNAMIC_METADATA(a:b):2%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := format.Compile(s)
		if err != nil {
			return
		}
		x.Append(nil, sample())
		x.Append(nil, &format.Context{})
	})
}

func FuzzJSONString(f *testing.F) {
	f.Add("a\"\\\n\x00\xff\xe2\x82é")
	f.Fuzz(func(t *testing.T, s string) {
		out := format.AppendJSONString(nil, s)
		var back string
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if utf8.ValidString(s) && back != s {
			t.Fatalf("%q came back as %q", s, back)
		}
	})
}

func FuzzGRPCTimeout(f *testing.F) {
	for _, s := range []string{"1S", "99999999H", "0n", "12", "", "1x", "-1S"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := format.GRPCTimeout(s); ok && d < 0 {
			t.Fatalf("%q is %v", s, d)
		}
	})
}
