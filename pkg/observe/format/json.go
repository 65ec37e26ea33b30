package format

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// JSON is a compiled json_format: a tree whose strings are format strings.
type JSON struct {
	root node
	omit bool
}

// JSONOptions are the options of a JSON format.
type JSONOptions struct {
	// OmitEmpty leaves out keys whose value is unset.
	OmitEmpty bool
	// Typed keeps numbers as numbers and unset values as null; false makes every value a string.
	Typed bool
}

// node is one value of the tree; exactly one field is set, none for null.
type node struct {
	format *Format
	single bool // format is one operator: it may be typed
	object []member
	list   []node
	fixed  []byte // rendered already
}

type member struct {
	key   []byte // quoted, with the colon
	value node
}

// CompileJSON compiles a tree of plain Go values (map[string]any, []any, string, float64, bool, nil). Keys are rendered
// in sorted order. Errors name the key.
func CompileJSON(tree map[string]any, o JSONOptions) (*JSON, error) {
	root, err := compileNode(tree, o)
	if err != nil {
		return nil, fmt.Errorf("compile json format: %w", err)
	}
	return &JSON{root: root, omit: o.OmitEmpty}, nil
}

func compileNode(v any, o JSONOptions) (node, error) {
	switch v := v.(type) {
	case string:
		var opts []Option
		if o.OmitEmpty {
			opts = append(opts, OmitEmpty())
		}
		f, err := Compile(v, opts...)
		if err != nil {
			return node{}, err
		}
		return node{format: f, single: o.Typed && len(f.parts) == 1 && f.parts[0].value != nil}, nil
	case []any:
		n := node{list: []node{}}
		for i, e := range v {
			child, err := compileNode(e, o)
			if err != nil {
				return node{}, fmt.Errorf("[%d]: %w", i, err)
			}
			n.list = append(n.list, child)
		}
		return n, nil
	case map[string]any:
		n := node{object: []member{}}
		for key, e := range v {
			child, err := compileNode(e, o)
			if err != nil {
				return node{}, fmt.Errorf("%q: %w", key, err)
			}
			n.object = append(n.object, member{append(AppendJSONString(nil, key), ':'), child})
		}
		slices.SortFunc(n.object, func(a, b member) int { return slices.Compare(a.key, b.key) })
		return n, nil
	}
	return node{fixed: appendJSON(nil, v)}, nil
}

// Append renders the object and a line feed at the end of dst.
func (j *JSON) Append(dst []byte, c *Context) []byte {
	dst, _ = j.root.append(dst, c, j.omit)
	return append(dst, '\n')
}

// append renders a value; false means that it is unset, and dst is as it was when omit is true.
func (n *node) append(dst []byte, c *Context, omit bool) ([]byte, bool) {
	switch {
	case n.fixed != nil:
		return append(dst, n.fixed...), true
	case n.object != nil:
		return n.appendObject(dst, c, omit), true
	case n.list != nil:
		dst = append(dst, '[')
		for i := range n.list {
			dst, _ = n.list[i].append(comma(dst, i), c, false)
		}
		return append(dst, ']'), true
	case n.single:
		return appendTyped(dst, &n.format.parts[0], c, omit)
	}
	start := len(dst)
	dst = n.format.Append(append(dst, '"'), c)
	if omit && len(dst) == start+1 {
		return dst[:start], false
	}
	return append(escapeTail(dst, start+1), '"'), true
}

func (n *node) appendObject(dst []byte, c *Context, omit bool) []byte {
	dst = append(dst, '{')
	first := true
	for i := range n.object {
		m := &n.object[i]
		start := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		var ok bool
		if dst, ok = m.value.append(append(dst, m.key...), c, omit); !ok && omit {
			dst = dst[:start]
			continue
		}
		first = false
	}
	return append(dst, '}')
}

// appendTyped renders the only operator of a value in its own type.
func appendTyped(dst []byte, p *part, c *Context, omit bool) ([]byte, bool) {
	start := len(dst)
	var ok bool
	switch p.kind {
	case kindNumber:
		dst, ok = p.append(dst, c)
	case kindJSON:
		dst, ok = p.json(dst, c)
	default:
		if dst, ok = p.append(append(dst, '"'), c); ok {
			return append(escapeTail(dst, start+1), '"'), true
		}
	}
	if ok {
		return dst, true
	}
	if omit {
		return dst[:start], false
	}
	return append(dst[:start], "null"...), false
}

// AppendJSONString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := len(dst)
	dst = append(dst, s...)
	return append(escapeTail(dst, start), '"')
}

// escapeTail escapes dst[start:] for a JSON string, in place where nothing needs it.
func escapeTail(dst []byte, start int) []byte {
	extra := 0
	for i := start; i < len(dst); {
		n, size := escapedLen(dst[i:])
		extra += n - size
		i += size
	}
	if extra == 0 {
		return dst
	}
	// Every escape is at least as long as what it stands for, so writing from the end never overtakes reading.
	read := len(dst)
	dst = slices.Grow(dst, extra)[:read+extra]
	write := len(dst)
	for read > start {
		size := lastSize(dst[start:read])
		n, _ := escapedLen(dst[read-size : read])
		var esc [6]byte
		copy(dst[write-n:write], appendEscaped(esc[:0], dst[read-size:read], n))
		read -= size
		write -= n
	}
	return dst
}

// lastSize is the length of the last character of b.
func lastSize(b []byte) int {
	if b[len(b)-1] < utf8.RuneSelf {
		return 1
	}
	_, size := utf8.DecodeLastRune(b)
	return size
}

// escapedLen tells how long the first character of b becomes and how long it is.
func escapedLen(b []byte) (escaped, size int) {
	switch c := b[0]; {
	case c == '"' || c == '\\' || c == '\n' || c == '\t' || c == '\r':
		return 2, 1
	case c < 0x20 || c == 0x7f:
		return 6, 1
	case c < utf8.RuneSelf:
		return 1, 1
	}
	r, size := utf8.DecodeRune(b)
	if r == utf8.RuneError && size == 1 {
		return 3, 1
	}
	return size, size
}

func appendEscaped(dst, raw []byte, escaped int) []byte {
	const digits = "0123456789abcdef"
	switch {
	case escaped == len(raw):
		return append(dst, raw...)
	case escaped == 3:
		return utf8.AppendRune(dst, utf8.RuneError)
	case escaped == 6:
		return append(dst, '\\', 'u', '0', '0', digits[raw[0]>>4], digits[raw[0]&15])
	}
	switch raw[0] {
	case '\n':
		return append(dst, '\\', 'n')
	case '\t':
		return append(dst, '\\', 't')
	case '\r':
		return append(dst, '\\', 'r')
	}
	return append(dst, '\\', raw[0])
}
