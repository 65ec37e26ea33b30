package protoyaml

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Marshal returns m as JSON with proto field names and each Any expanded, as
// Envoy's admin interface prints it. Lines are indented by indent per level
// (Envoy uses one space); an empty indent gives one line. The same message
// always gives the same bytes. An Any of a type that the registry does not
// know is printed with its "@type" alone.
func Marshal(m proto.Message, indent string) ([]byte, error) {
	opt := protojson.MarshalOptions{UseProtoNames: true, AllowPartial: true, Resolver: lenientResolver{protoregistry.GlobalTypes}}
	raw, err := opt.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s as JSON: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	// protojson varies its white space on purpose; that is undone here.
	var out bytes.Buffer
	if indent == "" {
		err = json.Compact(&out, raw)
	} else {
		err = json.Indent(&out, raw, "", indent)
	}
	if err != nil {
		return nil, fmt.Errorf("indent JSON of %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return out.Bytes(), nil
}

// lenientResolver answers for unknown types with a message that has no fields.
type lenientResolver struct{ Resolver }

// FindMessageByURL is that of the embedded resolver for known types.
func (r lenientResolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	mt, err := r.Resolver.FindMessageByURL(url)
	if errors.Is(err, protoregistry.NotFound) {
		return opaqueType()
	}
	return mt, err
}

// opaqueType makes the type of a message without fields.
func opaqueType() (protoreflect.MessageType, error) {
	fd, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name:        proto.String("weir/opaque.proto"),
		Package:     proto.String("weir"),
		Syntax:      proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Opaque")}},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("describe a message of unknown type: %w", err)
	}
	return dynamicpb.NewMessageType(fd.Messages().Get(0)), nil
}
