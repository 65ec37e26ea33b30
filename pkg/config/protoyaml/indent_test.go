package protoyaml_test

import (
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"google.golang.org/protobuf/types/known/structpb"
)

// The parser knows where the block begins that a line does not fit into. People want to know the line.
func TestSyntaxErrorsNameTheLine(t *testing.T) {
	head := "a:\n  b:\n  - c: 1\n    d: 2\n" + strings.Repeat("    # more\n", 50)
	for _, tc := range []struct{ name, file, src, want string }{
		{"between two blocks", "f.yaml", head + "   e: 3\n", "f.yaml:55: not valid YAML: did not find expected key (the line is indented by 3, and the blocks that it could be part of by 0, 2, 4)"},
		{"between two blocks, with more after it", "f.yaml", head + "   e: 3\nf: 4\n", "f.yaml:55: not valid YAML: did not find expected key (the line is indented by 3, and the blocks that it could be part of by 0, 2, 4)"},
		{"a tab", "f.yaml", "a:\n  b: x\n  c: y\n\td: z\n", "f.yaml:4: not valid YAML: found a tab character that violates indentation (YAML is indented with spaces, not tabs)"},
		{"something after a text", "f.yaml", head + "    e: \"x\" y\n", "f.yaml:55: not valid YAML: did not find expected key"},
		{"a key among items", "f.yaml", "a:\n- b\n- c\n# here\n- d: 1\n e: 2\n", "f.yaml:6: not valid YAML: did not find expected key (the line is indented by 1, and the blocks that it could be part of by 0, 2)"},
		{"with Windows' line ends", "f.yaml", strings.ReplaceAll(head+"   e: 3\n", "\n", "\r\n"), "f.yaml:55: not valid YAML: did not find expected key (the line is indented by 3, and the blocks that it could be part of by 0, 2, 4)"},
		{"an open quote stays where it begins", "f.yaml", "a:\n  b: \"x\n  c: 1\n", "f.yaml:2: not valid YAML: found unexpected end of stream"},
		{"YAML in .json", "f.json", "a: 1\n", "f.json:1:1: not valid JSON: expected a value, found 'a' (a file whose name ends in .json holds JSON; YAML is for .yaml)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := protoyaml.Decode([]byte(tc.src), tc.file, &structpb.Struct{}, protoyaml.Options{})
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v\nwant  %s", err, tc.want)
			}
		})
	}
}
