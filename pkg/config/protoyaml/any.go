package protoyaml

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// typePrefix is how Envoy writes type URLs.
const typePrefix = "type.googleapis.com/"

// any decodes n, a mapping with an "@type", into m, a google.protobuf.Any.
func (d *decoder) any(n *yaml.Node, m protoreflect.Message, at *frame) {
	if n.Kind != yaml.MappingNode {
		d.failAt(n, at, "", `expected a mapping with "@type", got %s`, d.describe(n, at))
		return
	}
	url, rest := lookup(d.pairs(n, at, verbatim), "@type")
	if url == nil {
		if len(rest) > 0 {
			d.failAt(n, at, "", `"@type" is missing: it names the message that the other fields belong to`)
		}
		return
	}
	inner, typeURL, foreign := d.foreign(follow(url.value))
	if !foreign {
		inner, typeURL = d.anyContent(n, *url, rest, at)
	}
	if inner == nil {
		return
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(inner)
	if err != nil {
		d.failAt(n, at, "", "encode %s: %v", typeURL, err)
		return
	}
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("type_url"), protoreflect.ValueOfString(typeURL))
	m.Set(fields.ByName("value"), protoreflect.ValueOfBytes(raw))
}

// anyContent decodes the message inside an Any and validates it. It returns nil
// when the type is not known, which it has then reported.
func (d *decoder) anyContent(n *yaml.Node, url pair, rest []pair, at *frame) (inner proto.Message, typeURL string) {
	mt := d.messageType(follow(url.value), at, "@type")
	if mt == nil {
		return nil, ""
	}
	m := mt.New()
	typeURL = follow(url.value).Value
	// From here on the frame stands for the content, not for the Any.
	content := *at
	content.md = mt.Descriptor()
	switch name := mt.Descriptor().FullName(); {
	case isTypedStruct(name):
		return d.typedStruct(n, m, rest, &content)
	case hasJSONForm(name):
		value, others := lookup(rest, "value")
		for _, p := range others {
			d.unknownField(p.key, mt.Descriptor(), &content)
		}
		if value != nil && !isNull(follow(value.value)) {
			d.message(value.value, m, content.raw("value"))
		}
	default:
		d.fields(dropRepeated(d, rest, mt.Descriptor(), &content), m, &content)
	}
	d.validate(m.Interface(), n, &content)
	return m.Interface(), typeURL
}

// dropRepeated reports and removes keys that name the same field in its two
// spellings; when the pairs were listed the message was not known yet.
func dropRepeated(d *decoder, pairs []pair, md protoreflect.MessageDescriptor, at *frame) []pair {
	name := fieldName(md)
	seen := make(map[string]*yaml.Node, len(pairs))
	kept := pairs[:0]
	for _, p := range pairs {
		if first, dup := seen[name(p.key.Value)]; dup {
			d.duplicate(p.key, first, at)
			continue
		}
		seen[name(p.key.Value)] = p.key
		kept = append(kept, p)
	}
	return kept
}

// typedStruct decodes the fields of a TypedStruct into the message that its
// type_url names. The result takes the TypedStruct's place in the Any.
func (d *decoder) typedStruct(n *yaml.Node, m protoreflect.Message, pairs []pair, at *frame) (proto.Message, string) {
	url, rest := lookup(pairs, "type_url", "typeUrl")
	value, rest := lookup(rest, "value")
	for _, p := range rest {
		d.unknownField(p.key, m.Descriptor(), at)
	}
	if url == nil {
		d.failAt(n, at, "", "type_url is missing: it names the message that value belongs to")
		return nil, ""
	}
	if m, typeURL, foreign := d.foreign(follow(url.value)); foreign {
		return m, typeURL
	}
	mt := d.messageType(follow(url.value), at, "type_url")
	if mt == nil {
		return nil, ""
	}
	inner := mt.New()
	content := at.raw("value")
	content.md = mt.Descriptor()
	node := n
	if value != nil && !isNull(follow(value.value)) {
		node = follow(value.value)
		d.message(value.value, inner, content)
	}
	d.validate(inner.Interface(), node, content)
	return inner.Interface(), typePrefix + string(mt.Descriptor().FullName())
}

// messageType resolves the type URL in node n, which is the value of key.
func (d *decoder) messageType(n *yaml.Node, at *frame, key string) protoreflect.MessageType {
	field := at.raw(key)
	if n.Kind != yaml.ScalarNode || n.Value == "" || isNull(n) {
		d.failAt(n, field, "", "expected a type URL such as %sgoogle.protobuf.Empty, got %s", typePrefix, d.describe(n, at))
		return nil
	}
	mt, err := d.opt.resolver().FindMessageByURL(n.Value)
	switch {
	case err == nil && key == "@type" && !strings.Contains(n.Value, "/"):
		d.failAt(n, field, "did you mean "+typePrefix+n.Value+"?", "%q is not a type URL: it has no slash", n.Value)
		return nil
	case err != nil:
		d.spoil(field.path())
		d.spoil(at.path())
		d.fail(Error{
			Line: n.Line, Column: n.Column, Path: field.path(), Code: CodeUnknownType,
			Reason: fmt.Sprintf("unknown type URL %q", shortenURL(n.Value)), Suggestion: d.typeHint(n.Value),
		})
		return nil
	}
	return mt
}

// typedStructMessage converts a decoded TypedStruct to the message it stands
// for, or returns nil after reporting why that is not possible.
func (d *decoder) typedStructMessage(m proto.Message, at *frame) proto.Message {
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	url := r.Get(fields.ByName("type_url")).String()
	mt := d.messageType(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: url, Style: yaml.DoubleQuotedStyle}, at, "type_url")
	if mt == nil {
		return nil
	}
	inner := mt.New()
	value, _ := r.Get(fields.ByName("value")).Message().Interface().(*structpb.Struct)
	content := *at
	content.md = mt.Descriptor()
	node := structNode(value)
	d.budget += countNodes(node)
	d.message(node, inner, &content)
	return inner.Interface()
}
