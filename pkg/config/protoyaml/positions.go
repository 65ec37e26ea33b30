package protoyaml

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Position is a place in a text.
type Position struct {
	File string
	// Line and Column count from 1; 0 means unknown.
	Line, Column int
}

// Positions finds the place of a field by its path, in a text that was decoded
// with Options.Positions or by DecodeResources. Nil finds nothing. It keeps the
// parsed text and is safe for concurrent use once it is filled.
type Positions struct {
	file string
	root *yaml.Node
	// over is merged over root as proto.Merge does; nil when there is nothing.
	over *Positions
}

// Merge returns positions in a message that was made by merging over into p's:
// elements of lists come after those of p, and what both set is found in over.
func (p *Positions) Merge(over *Positions) *Positions {
	if p == nil {
		return over
	}
	merged := *p
	merged.over = over
	return &merged
}

// Find returns the place of the field at path, which is written as in
// Error.Path; steps of a TypedStruct's "value" may be left out. When the text
// does not have the field, the place is that of the nearest message around it
// that the text has, and exact is false.
func (p *Positions) Find(path string) (at Position, exact bool) {
	if p == nil {
		return Position{}, false
	}
	base, over := spot{file: p.file, node: p.root}, spot{}
	if p.over != nil {
		over = spot{file: p.over.file, node: p.over.root}
	}
	base.enter()
	over.enter()
	for rest := path; rest != ""; {
		var s step
		s, rest = nextStep(rest)
		if s.indexed && base.live() && over.live() {
			s = s.shared(&base, &over)
		}
		base.walk(s)
		over.walk(s.over())
	}
	switch {
	case over.live() || over.node != nil && over.depth > base.depth:
		return over.position(), over.live()
	case base.node != nil:
		return base.position(), base.live()
	}
	return Position{File: p.file}, false
}

// step is one name of a path with its index or key.
type step struct {
	name    string
	indexed bool
	index   int
	key     string
	keyed   bool
	// inOver is the index in the merged text; -1 when the element is in the other.
	inOver int
}

// nextStep takes the first step off path.
func nextStep(path string) (s step, rest string) {
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		return step{name: path}, ""
	}
	s.name, rest = path[:end], path[end:]
	if strings.HasPrefix(rest, "[") {
		rest = rest[1:]
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			s.key, _ = strconv.Unquote(quoted)
			s.keyed = true
			rest = rest[len(quoted):]
		}
		inside, after, _ := strings.Cut(rest, "]")
		if !s.keyed {
			n, err := strconv.Atoi(inside)
			s.index, s.indexed = n, err == nil
			s.inOver = s.index
		}
		rest = after
	}
	return s, strings.TrimPrefix(rest, ".")
}

// over is the step as it is taken in the text that was merged over another.
func (s step) over() step {
	s.index = s.inOver
	return s
}

// shared tells in which of two merged lists the element is.
func (s step) shared(base, over *spot) step {
	n := base.length(s.name)
	if over.length(s.name) == 0 {
		return s
	}
	if s.index < n {
		s.inOver = -1
		return s
	}
	s.inOver, s.index = s.index-n, -1
	return s
}

// spot is a place in the text while a path is followed.
type spot struct {
	file string
	// node is the value, and mark the node whose position stands for it.
	node, mark *yaml.Node
	// depth counts the steps that were found; lost tells that one was not.
	depth int
	lost  bool
}

func (s *spot) enter() {
	if s.node != nil {
		s.node = follow(s.node)
		s.mark = s.node
	}
}

func (s *spot) live() bool { return s.node != nil && !s.lost }

func (s *spot) position() Position {
	return Position{File: s.file, Line: s.mark.Line, Column: s.mark.Column}
}

// length is how many elements the list under name has.
func (s *spot) length(name string) int {
	_, value := entryOfField(s.node, name)
	switch {
	case value == nil || isNull(value):
		return 0
	case value.Kind == yaml.SequenceNode:
		return len(value.Content)
	}
	return 1
}

// walk takes one step; from the first one that is not there the spot stays.
func (s *spot) walk(at step) {
	if !s.live() {
		return
	}
	key, value := entryOfField(s.node, at.name)
	if at.name == "" {
		key, value = s.node, s.node
	}
	switch {
	case value == nil || at.indexed && at.index < 0:
		s.lost = true
		return
	case at.indexed && value.Kind == yaml.SequenceNode:
		if at.index >= len(value.Content) {
			s.lost = true
			return
		}
		value = follow(value.Content[at.index])
		key = value
	case at.keyed:
		k, v := entryOfField(value, at.key)
		if v == nil {
			s.lost = true
			return
		}
		key, value = k, v
	}
	s.depth++
	s.node, s.mark = value, key
	if value.Kind == yaml.ScalarNode && value.Line > 0 {
		s.mark = value
	}
}

// maxMergeKeys bounds how many merge keys are followed for one field.
const maxMergeKeys = 32

// entryOfField finds a field in mapping n by its proto name or its JSON name,
// behind merge keys, and in the value of a TypedStruct.
func entryOfField(n *yaml.Node, name string) (key, value *yaml.Node) {
	budget := maxMergeKeys
	return findEntry(n, name, &budget)
}

func findEntry(n *yaml.Node, name string, budget *int) (key, value *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	if *budget--; *budget < 0 {
		return nil, nil
	}
	camel := camelCase(name)
	var behind []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := follow(n.Content[i]), follow(n.Content[i+1])
		switch {
		case k.Tag == "!!merge" && v.Kind == yaml.SequenceNode:
			for _, item := range v.Content {
				behind = append(behind, follow(item))
			}
		case k.Tag == "!!merge":
			behind = append(behind, v)
		case k.Value == name || k.Value == camel:
			return k, v
		}
	}
	if v := typedStructValue(n); v != nil {
		behind = append(behind, v)
	}
	for _, m := range behind {
		if k, v := findEntry(m, name, budget); v != nil {
			return k, v
		}
	}
	return nil, nil
}

// typedStructValue is the value of a TypedStruct, or of a wrapper of a resource.
func typedStructValue(n *yaml.Node) *yaml.Node {
	var typed bool
	var value *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch k, v := follow(n.Content[i]), follow(n.Content[i+1]); k.Value {
		case "@type":
			typed = strings.HasSuffix(v.Value, ".TypedStruct")
		case "value":
			value = v
		}
	}
	if !typed {
		return nil
	}
	return value
}

// camelCase is the JSON name of a proto field.
func camelCase(name string) string {
	var b strings.Builder
	up := false
	for i := range len(name) {
		switch c := name[i]; {
		case c == '_':
			up = true
		case up && 'a' <= c && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
			up = false
		default:
			b.WriteByte(c)
			up = false
		}
	}
	return b.String()
}

// inner returns the positions of a resource: of the content of a
// envoy.service.discovery.v3.Resource when wrapped is set.
func (p *Positions) inner(wrapped bool) *Positions {
	if !wrapped {
		return p
	}
	if _, v := entryOfField(p.root, "resource"); v != nil {
		return &Positions{file: p.file, root: v}
	}
	return p
}
