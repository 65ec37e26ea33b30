// Package schema describes configuration as a JSON Schema (draft 2020-12), for editors that complete and check YAML.
//
// It owns the mapping from protobuf descriptors to schemas: the forms that protoyaml takes. It must not know what messages
// mean; which fields have an effect is told to it. It has no state.
package schema

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Draft is the dialect of the schemas.
const Draft = "https://json-schema.org/draft/2020-12/schema"

// Options says what the schema knows beside the descriptors.
type Options struct {
	// Support says field by field what becomes of a message; messages that it lacks are not judged.
	Support map[protoreflect.FullName]extension.Fields
	// Extensions are the messages that an Any may hold.
	Extensions []protoreflect.MessageDescriptor
}

// Of returns the schema of a document that holds md.
func Of(md protoreflect.MessageDescriptor, opt Options) map[string]any {
	g := newGenerator(opt)
	out := map[string]any{"$schema": Draft, "title": string(md.FullName())}
	for k, v := range g.reference(md) {
		out[k] = v
	}
	g.finish()
	out["$defs"] = g.defs
	return out
}

// Resources returns the schema of a file of resources of these types: one, a list, or a mapping with "resources".
func Resources(types []protoreflect.MessageDescriptor, opt Options) map[string]any {
	g := newGenerator(opt)
	one := g.tagged(types)
	list := map[string]any{"type": "array", "items": one}
	out := map[string]any{
		"$schema": Draft, "title": "xDS resources",
		"anyOf": []any{
			one, list,
			map[string]any{
				"type": "object", "required": []any{"resources"},
				"properties": map[string]any{
					"resources": map[string]any{"anyOf": []any{list, one}}, "version_info": text(), "versionInfo": text(),
				},
			},
		},
	}
	g.finish()
	out["$defs"] = g.defs
	return out
}

// generator collects the definitions of messages.
type generator struct {
	opt  Options
	defs map[string]any
	// open are messages whose definition is still to be written.
	open []protoreflect.MessageDescriptor
}

func newGenerator(opt Options) *generator {
	return &generator{opt: opt, defs: map[string]any{}}
}

// finish writes all definitions that are referred to.
func (g *generator) finish() {
	for len(g.open) > 0 {
		md := g.open[len(g.open)-1]
		g.open = g.open[:len(g.open)-1]
		g.defs[string(md.FullName())] = g.message(md)
	}
}

// reference refers to the definition of a message, or is the schema of a well-known type.
func (g *generator) reference(md protoreflect.MessageDescriptor) map[string]any {
	name := string(md.FullName())
	if s := g.wellKnown(md); s != nil {
		return s
	}
	if _, known := g.defs[name]; !known {
		g.defs[name] = nil
		g.open = append(g.open, md)
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

// message is the definition of a message.
func (g *generator) message(md protoreflect.MessageDescriptor) map[string]any {
	properties := map[string]any{}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		s := g.field(fd)
		if note := g.note(md, fd); note != "" {
			s = map[string]any{"allOf": []any{s}, "description": note}
			if strings.HasPrefix(note, "Deprecated") {
				s["deprecated"] = true
			}
		}
		properties[string(fd.Name())] = s
		if fd.JSONName() != string(fd.Name()) {
			properties[fd.JSONName()] = s
		}
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if one := exclusions(md); len(one) > 0 {
		out["allOf"] = one
	}
	return out
}

// exclusions say of each oneof that at most one of its fields may be set.
func exclusions(md protoreflect.MessageDescriptor) []any {
	var all []any
	for i := range md.Oneofs().Len() {
		od := md.Oneofs().Get(i)
		if od.IsSynthetic() || od.Fields().Len() < 2 {
			continue
		}
		var set []any
		for j := range od.Fields().Len() {
			set = append(set, isSet(od.Fields().Get(j)))
		}
		all = append(all, map[string]any{"oneOf": append(set, map[string]any{"not": map[string]any{"anyOf": set}})})
	}
	return all
}

// isSet holds for objects that have the field in either spelling.
func isSet(fd protoreflect.FieldDescriptor) map[string]any {
	snake := map[string]any{"required": []any{string(fd.Name())}}
	if fd.JSONName() == string(fd.Name()) {
		return snake
	}
	return map[string]any{"anyOf": []any{snake, map[string]any{"required": []any{fd.JSONName()}}}}
}

// note says what becomes of a field.
func (g *generator) note(md protoreflect.MessageDescriptor, fd protoreflect.FieldDescriptor) string {
	var notes []string
	if isDeprecated(fd) {
		notes = append(notes, "Deprecated in Envoy's API.")
	}
	if fields, judged := g.opt.Support[md.FullName()]; judged {
		switch f, listed := fields[string(fd.Name())]; {
		case !listed:
			notes = append(notes, "Not supported by weir: the field has no effect, or is refused.")
		case f.Harmless != "":
			notes = append(notes, "Accepted without effect: "+f.Harmless+".")
		}
	}
	return strings.Join(notes, " ")
}

// field is the schema of a field with its cardinality.
func (g *generator) field(fd protoreflect.FieldDescriptor) map[string]any {
	switch {
	case fd.IsMap():
		return map[string]any{"type": []any{"object", "null"}, "additionalProperties": g.value(fd.MapValue())}
	case fd.IsList():
		one := g.value(fd)
		return map[string]any{"anyOf": []any{map[string]any{"type": "array", "items": one}, one}}
	}
	return g.value(fd)
}

// tagged is an object whose "@type" chooses among the given messages.
func (g *generator) tagged(types []protoreflect.MessageDescriptor) map[string]any {
	var urls, branches []any
	sorted := slices.SortedFunc(slices.Values(types), func(a, b protoreflect.MessageDescriptor) int {
		return strings.Compare(string(a.FullName()), string(b.FullName()))
	})
	for _, md := range sorted {
		url := "type.googleapis.com/" + string(md.FullName())
		urls = append(urls, url)
		branches = append(branches, map[string]any{
			"if":   map[string]any{"properties": map[string]any{"@type": map[string]any{"const": url}}, "required": []any{"@type"}},
			"then": g.content(md),
		})
	}
	out := map[string]any{
		"type": "object", "required": []any{"@type"},
		"properties": map[string]any{"@type": map[string]any{"anyOf": []any{map[string]any{"enum": urls}, text()}}},
	}
	if len(branches) > 0 {
		out["allOf"] = branches
	}
	return out
}

// content is a message with an "@type" among its fields, or under "value" when it has a JSON form of its own.
func (g *generator) content(md protoreflect.MessageDescriptor) map[string]any {
	name := "@" + string(md.FullName())
	if _, known := g.defs[name]; !known {
		g.defs[name] = nil
		s := map[string]any{}
		if own := g.wellKnown(md); own != nil {
			s = map[string]any{"type": "object", "properties": map[string]any{"value": own}}
		} else {
			for k, v := range g.message(md) {
				s[k] = v
			}
			s["properties"].(map[string]any)["@type"] = map[string]any{"const": fmt.Sprintf("type.googleapis.com/%s", md.FullName())}
		}
		g.defs[name] = s
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}
