package protoyaml_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// TestRemovedFields checks the table of removed fields against the API: each
// message exists and does not have the field.
func TestRemovedFields(t *testing.T) {
	for field := range protoyaml.RemovedFields() {
		message, name := field[:strings.LastIndexByte(field, '.')], field[strings.LastIndexByte(field, '.')+1:]
		mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(message))
		if err != nil {
			t.Errorf("%s: %v", field, err)
			continue
		}
		if mt.Descriptor().Fields().ByName(protoreflect.Name(name)) != nil {
			t.Errorf("%s still exists", field)
		}
	}
}
