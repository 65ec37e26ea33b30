package protoyaml

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ignoreTag marks a key that Envoy skips; it holds anchors for other places.
const ignoreTag = "!ignore"

// pair is one key of a mapping with its value.
type pair struct{ key, value *yaml.Node }

// fieldName returns a function that maps both spellings of a field to one, so
// that duplicates are found whichever way they are written.
func fieldName(md protoreflect.MessageDescriptor) func(string) string {
	return func(key string) string {
		if fd := findField(md, key); fd != nil {
			return string(fd.Name())
		}
		return key
	}
}

// verbatim is the naming of keys that are no fields.
func verbatim(key string) string { return key }

// pairs lists the keys of mapping n, with merge keys (<<) resolved: a key of
// the mapping itself wins over a merged one, and an earlier merged mapping over
// a later one. Duplicates are reported at their second place and left out.
func (d *decoder) pairs(n *yaml.Node, at *frame, name func(string) string) []pair {
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	pairs := make([]pair, 0, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := follow(n.Content[i]), n.Content[i+1]
		switch {
		case key.Tag == ignoreTag:
			continue
		case key.Tag == "!!merge":
			merged = append(merged, value)
			continue
		case key.Kind != yaml.ScalarNode:
			d.fail(Error{Line: key.Line, Column: key.Column, Path: at.path(), Reason: "a key must be a plain value, got " + d.describe(key, at)})
			continue
		}
		if first, dup := seen[name(key.Value)]; dup {
			d.duplicate(key, first, at)
			continue
		}
		seen[name(key.Value)] = key
		pairs = append(pairs, pair{key, value})
	}
	for _, value := range merged {
		pairs = d.merge(value, pairs, seen, at, name)
	}
	return pairs
}

func (d *decoder) duplicate(key, first *yaml.Node, at *frame) {
	where := fmt.Sprintf("on line %d", first.Line)
	if first.Line == 0 {
		where = "already"
	}
	what := fmt.Sprintf("%q is set twice", key.Value)
	if first.Value != key.Value {
		what = fmt.Sprintf("%q and %q are the same field", first.Value, key.Value)
	}
	d.fail(Error{
		Line: key.Line, Column: key.Column, Path: join(at.path(), key.Value), Code: CodeDuplicate,
		Reason: fmt.Sprintf("%s, first %s", what, where),
	})
}

// merge appends the pairs of a merge key's value that are not yet seen.
func (d *decoder) merge(value *yaml.Node, pairs []pair, seen map[string]*yaml.Node, at *frame, name func(string) string) []pair {
	nested := at.raw("<<")
	n := d.enter(value, nested)
	if n == nil {
		return pairs
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if follow(item).Kind == yaml.SequenceNode {
				d.failAt(item, nested, "", "a merge key takes a mapping or a list of mappings")
				continue
			}
			pairs = d.merge(item, pairs, seen, nested, name)
		}
	case yaml.MappingNode:
		for _, p := range d.pairs(n, nested, name) {
			d.budget--
			if _, dup := seen[name(p.key.Value)]; !dup {
				seen[name(p.key.Value)] = p.key
				pairs = append(pairs, p)
			}
		}
	default:
		d.failAt(value, nested, "", "a merge key takes a mapping or a list of mappings, got %s", d.describe(n, at))
	}
	return pairs
}

// lookup finds key in pairs and returns its value and the other pairs.
func lookup(pairs []pair, keys ...string) (found *pair, rest []pair) {
	rest = make([]pair, 0, len(pairs))
	for i, p := range pairs {
		if found == nil && slices.Contains(keys, p.key.Value) {
			found = &pairs[i]
			continue
		}
		rest = append(rest, p)
	}
	return found, rest
}

// follow resolves aliases. The YAML parser guarantees that an alias names an
// earlier node that is not an alias.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// isNull reports whether n is YAML's or JSON's null, or nothing at all.
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// oneofNames lists the members of od for an error text.
func oneofNames(od protoreflect.OneofDescriptor) string {
	names := make([]string, od.Fields().Len())
	for i := range names {
		names[i] = string(od.Fields().Get(i).Name())
	}
	return strings.Join(names, ", ")
}
