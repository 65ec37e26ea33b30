package protoyaml_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/test/golden"
)

// inputs lists the YAML and JSON files of a folder under testdata.
func inputs(t *testing.T, folder string) []string {
	t.Helper()
	var files []string
	for _, ext := range []string{"*.yaml", "*.json"} {
		found, err := filepath.Glob(filepath.Join("testdata", folder, ext))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Fatalf("no inputs in testdata/%s", folder)
	}
	return files
}

// TestBadInput holds the exact texts of all errors, strict, and of the warnings
// and remaining errors, lenient.
func TestBadInput(t *testing.T) {
	for _, input := range inputs(t, "bad") {
		t.Run(filepath.Base(input), func(t *testing.T) {
			src, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Base(input)
			_, strict := protoyaml.Decode(src, file, &bootstrapv3.Bootstrap{}, protoyaml.Options{})
			if strict == nil {
				t.Fatal("no error")
			}
			var list protoyaml.Errors
			if !errors.As(strict, &list) {
				t.Fatalf("error is %T, want Errors", strict)
			}
			warnings, lenient := protoyaml.Decode(src, file, &bootstrapv3.Bootstrap{}, protoyaml.Options{AllowUnknown: true})
			var out strings.Builder
			fmt.Fprintf(&out, "%v\n\n--- unknown fields allowed: %d warnings\n", strict, len(warnings))
			for _, w := range warnings {
				fmt.Fprintf(&out, "%v\n", w)
			}
			if lenient != nil {
				fmt.Fprintf(&out, "--- errors\n%v\n", lenient)
			}
			golden.Check(t, input+".golden", out.String())
		})
	}
}

// TestGoodInput holds what each input decodes to, and that its JSON decodes to
// the same message, both here and in protojson.
func TestGoodInput(t *testing.T) {
	for _, input := range inputs(t, "good") {
		t.Run(filepath.Base(input), func(t *testing.T) {
			var first bootstrapv3.Bootstrap
			if warnings, err := protoyaml.DecodeFile(input, &first, protoyaml.Options{}); err != nil || len(warnings) > 0 {
				t.Fatalf("warnings %v, error:\n%v", warnings, err)
			}
			text, err := protoyaml.Marshal(&first, " ")
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, input+".golden", string(text)+"\n")
			for _, name := range []string{"again.json", "again.yaml"} {
				var again bootstrapv3.Bootstrap
				if _, err := protoyaml.Decode(text, name, &again, protoyaml.Options{}); err != nil {
					t.Fatalf("decode %s: %v", name, err)
				}
				if diff := cmp.Diff(&first, &again, protocmp.Transform()); diff != "" {
					t.Errorf("%s (-first +again):\n%s", name, diff)
				}
			}
			var peer bootstrapv3.Bootstrap
			if err := protojson.Unmarshal(text, &peer); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(&first, &peer) {
				t.Error("protojson reads another message")
			}
			if again, _ := protoyaml.Marshal(&peer, " "); !bytes.Equal(text, again) {
				t.Error("marshalling again gives other text")
			}
		})
	}
}
