// Package protoyaml decodes YAML and JSON into protobuf messages as Envoy
// does, and says where and why when that is not possible.
//
// It owns the whole way from text to a validated message: parsing with
// positions, the walk over the message's descriptor, Any and TypedStruct, the
// rules of protoc-gen-validate, and the way back to JSON. Every problem is
// collected, with file, line, column, field path and, where one is likely, the
// right spelling. It must not know what any particular message means, apart
// from protobuf's well-known types, TypedStruct and the list of fields that
// Envoy's API v3 removed.
//
// All functions are safe for concurrent use: there is no shared state, and a
// decoder lives for one call.
package protoyaml

import (
	"errors"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Bounds that keep hostile input from using the process up. A real
// configuration stays far below each of them.
const (
	// maxDepth is how deep messages, lists and maps may nest in one another.
	maxDepth = 200
	// maxAliasNodes is how many nodes beyond the size of the source an
	// expansion of YAML aliases may visit.
	maxAliasNodes = 500_000
	// maxErrors is how many errors, and how many warnings, are kept.
	maxErrors = 1000
	// maxTypeHints is how often per call the nearest known type URL is
	// searched for: the search looks at every registered message.
	maxTypeHints = 16
)

// Resolver finds the message that a type URL names. It is satisfied by
// *protoregistry.Types. When it also has that type's RangeMessages method,
// errors about unknown type URLs name the nearest known one.
type Resolver interface {
	protoregistry.MessageTypeResolver
	protoregistry.ExtensionTypeResolver
}

// Options says how to decode. The zero value is strict and uses
// protoregistry.GlobalTypes.
type Options struct {
	// Resolver finds the messages inside an Any; nil means protoregistry.GlobalTypes.
	Resolver Resolver
	// AllowUnknown turns unknown fields and unknown enum names from errors into
	// warnings, as Envoy does for dynamic resources. Unknown type URLs stay errors.
	AllowUnknown bool
	// SkipValidation leaves out the rules of protoc-gen-validate, for messages
	// that are merged first and validated by ValidateMessage afterwards.
	SkipValidation bool
	// Positions, when set, is filled by Decode, so that the places of fields can
	// be found by path afterwards. It is not read.
	Positions *Positions
	// KeepBroken lets DecodeResources return the resources that have errors too,
	// with what could be decoded of them.
	KeepBroken bool
}

func (o Options) resolver() Resolver {
	if o.Resolver == nil {
		return protoregistry.GlobalTypes
	}
	return o.Resolver
}

// Decode replaces the content of into with what src says. src is YAML or JSON
// and holds one document; file is only used to name it in errors.
//
// The returned warnings are the unknown fields that opt.AllowUnknown let pass,
// one each and 1000 at most, for server.static_unknown_fields and
// server.dynamic_unknown_fields. The error is an Errors
// with all that is wrong, sorted by position; into then holds what could be
// decoded and must not be used as a configuration.
func Decode(src []byte, file string, into proto.Message, opt Options) (warnings []Error, err error) {
	root, isJSON, err := parseOne(src, file)
	if err != nil {
		return nil, err
	}
	if opt.Positions != nil {
		*opt.Positions = Positions{file: file, root: root}
	}
	proto.Reset(into)
	d := newDecoder(file, len(src), isJSON, opt)
	at := &frame{index: noIndex, md: into.ProtoReflect().Descriptor()}
	d.message(root, into.ProtoReflect(), at)
	d.validate(into, root, at)
	return d.warnings, d.result()
}

// DecodeFile reads the file at path and decodes it with Decode.
func DecodeFile(path string, into proto.Message, opt Options) (warnings []Error, err error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Decode(src, path, into, opt)
}

// parseOne parses src and returns its only document.
func parseOne(src []byte, file string) (root *yaml.Node, isJSON bool, err error) {
	docs, isJSON, err := parse(src, file)
	switch {
	case err != nil:
		return nil, isJSON, err
	case len(docs) == 0:
		return nil, isJSON, Errors{{File: file, Code: CodeSyntax, Reason: "holds no configuration: the document is empty"}}
	case len(docs) > 1:
		return nil, isJSON, Errors{{
			File: file, Line: docs[1].Line, Column: docs[1].Column, Code: CodeSyntax,
			Reason: fmt.Sprintf("expected one YAML document, found %d", len(docs)),
		}}
	}
	return docs[0], isJSON, nil
}

// UnwrapTypedStruct returns the message inside packed. A udpa.type.v1.TypedStruct
// or xds.type.v3.TypedStruct is converted to the message that its type_url
// names; any other content is unmarshalled as it is. Unknown fields of a
// TypedStruct are errors unless opt.AllowUnknown is set. The content is not
// checked against the rules of protoc-gen-validate: ValidateMessage does that.
func UnwrapTypedStruct(packed AnyMessage, opt Options) (proto.Message, error) {
	m, err := unmarshalAny(packed, opt.resolver())
	if err != nil {
		return nil, err
	}
	if !isTypedStruct(m.ProtoReflect().Descriptor().FullName()) {
		return m, nil
	}
	d := newDecoder("", 0, true, opt)
	at := &frame{index: noIndex, name: "value"}
	inner := d.typedStructMessage(m, at)
	if err := d.result(); err != nil {
		return nil, fmt.Errorf("convert %s: %w", packed.GetTypeUrl(), err)
	}
	return inner, nil
}

// AnyMessage is what UnwrapTypedStruct needs of an *anypb.Any.
type AnyMessage interface {
	GetTypeUrl() string
	GetValue() []byte
}

// unmarshalAny returns the message in packed, as it is on the wire.
func unmarshalAny(packed AnyMessage, r Resolver) (proto.Message, error) {
	if packed.GetTypeUrl() == "" {
		return nil, errors.New(`"@type" is missing: it names the message`)
	}
	mt, err := r.FindMessageByURL(packed.GetTypeUrl())
	if errors.Is(err, protoregistry.NotFound) {
		return nil, fmt.Errorf("unknown type URL %q", packed.GetTypeUrl())
	}
	if err != nil {
		return nil, fmt.Errorf("resolve type URL %q: %w", packed.GetTypeUrl(), err)
	}
	m := mt.New().Interface()
	if err := (proto.UnmarshalOptions{Resolver: r}).Unmarshal(packed.GetValue(), m); err != nil {
		return nil, fmt.Errorf("unmarshal %s: %w", packed.GetTypeUrl(), err)
	}
	return m, nil
}

// isTypedStruct reports whether name is one of the two typed struct messages.
func isTypedStruct(name protoreflect.FullName) bool {
	return name == "udpa.type.v1.TypedStruct" || name == "xds.type.v3.TypedStruct"
}
