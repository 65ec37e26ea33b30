package protoyaml_test

import (
	"errors"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// Text that is not YAML has a line, whatever the library tells of it.
func TestLineOfWhatIsNotYAML(t *testing.T) {
	for name, tt := range map[string]struct {
		src  string
		line int
	}{
		"first line":             {"][", 1},
		"after empty lines":      {"\n\n][", 3},
		"after good lines":       {"id: x\ncluster: y\n][", 3},
		"within a list":          {"- a\n- ]\n", 2},
		"open flow mapping":      {"id: x\ncluster: y\nmetadata: {x\n\n", 3},
		"indented too far":       {"id: x\n  cluster: 2", 2},
		"indented too little":    {"id: x\na:\n  - c\n d: 1\n", 4},
		"two keys on a line":     {"id: a: b", 1},
		"tab":                    {"id:\n\tb: 1", 2},
		"open quote":             {"id: 1\ncluster: 'x\nc: 1\nd: 2\n", 2},
		"escape":                 {"id: \"\\q\"", 1},
		"control character":      {"id: x\n\ncluster: \x01\n", 3},
		"not UTF-8":              {"id: x\ncluster: \xff\n", 2},
		"alias that is not":      {"id: x\ncluster: *no\n", 2},
		"version of YAML":        {"%YAML 9.9\n---\na", 1},
		"directive later":        {"id: x\n---\n%FOO", 3},
		"open flow in the third": {"id: x\n\ncluster: [1,\n", 3},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protoyaml.Decode([]byte(tt.src), "f.yaml", new(corev3.Node), protoyaml.Options{})
			var all protoyaml.Errors
			if !errors.As(err, &all) || all[0].Line != tt.line || !strings.HasPrefix(err.Error(), "f.yaml:") {
				t.Errorf("error = %v, want line %d", err, tt.line)
			}
		})
	}
}
