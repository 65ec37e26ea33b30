package translate

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/test/golden"
)

// TestRealistic translates configurations like those that control planes and people write: they must be accepted, and what
// is said about them, once each, must be what the file beside them says.
func TestRealistic(t *testing.T) {
	inputs, err := filepath.Glob("testdata/realistic/*.yaml")
	if err != nil || len(inputs) < 3 {
		t.Fatalf("inputs %v: %v", inputs, err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(input), func(t *testing.T) {
			b := &bootstrapv3.Bootstrap{}
			if _, err := protoyaml.DecodeFile(input, b, protoyaml.Options{}); err != nil {
				t.Fatal(err)
			}
			static, warnings, err := testTranslator(t).Bootstrap(b, Meta{})
			if err != nil {
				t.Fatal(err)
			}
			more, err := static.Group().References()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			seen := map[string]bool{}
			for _, w := range append(warnings, more...) {
				if seen[w.String()] {
					t.Errorf("said twice: %s", w)
				}
				seen[w.String()] = true
				fmt.Fprintln(&out, w)
			}
			golden.Check(t, strings.TrimSuffix(input, ".yaml")+".golden", out.Bytes())
		})
	}
}
