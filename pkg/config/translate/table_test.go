package translate

import (
	"testing"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TestTableNamesExist checks that every message and field of the table is one of Envoy's.
func TestTableNamesExist(t *testing.T) {
	for name, fields := range Support() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			t.Errorf("message %s: %v", name, err)
			continue
		}
		md, ok := d.(protoreflect.MessageDescriptor)
		if !ok {
			t.Errorf("%s is not a message", name)
			continue
		}
		for field := range fields {
			if md.Fields().ByName(protoreflect.Name(field)) == nil {
				t.Errorf("message %s has no field %s", name, field)
			}
		}
	}
}

// TestTableIsClosed checks that what an effective field holds is in the table too, so that no part of a message escapes
// the warnings. The exceptions are messages that are one value.
func TestTableIsClosed(t *testing.T) {
	table := Support()
	values := map[protoreflect.FullName]bool{
		"google.protobuf.Any": true, "google.protobuf.Duration": true, "google.protobuf.Struct": true,
		"google.protobuf.BoolValue": true, "google.protobuf.UInt32Value": true, "google.protobuf.DoubleValue": true, "google.protobuf.UInt64Value": true,
		"envoy.type.v3.Percent": true, "envoy.type.v3.FractionalPercent": true, "envoy.type.v3.Int64Range": true,
		"xds.core.v3.ContextParams": true,
	}
	for name, fields := range table {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			continue
		}
		for field, support := range fields {
			fd := d.(protoreflect.MessageDescriptor).Fields().ByName(protoreflect.Name(field))
			if fd == nil || support.Harmless != "" {
				continue
			}
			if fd.IsMap() {
				fd = fd.MapValue()
			}
			if fd.Message() == nil || values[fd.Message().FullName()] {
				continue
			}
			if _, ok := table[fd.Message().FullName()]; !ok {
				t.Errorf("%s.%s: message %s is missing", name, field, fd.Message().FullName())
			}
		}
	}
}
