package protoyaml

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxJSONDepth bounds the recursion of the JSON parser; messages are bounded
// tighter, by maxDepth.
const maxJSONDepth = 1000

// jsonParser reads RFC 8259 JSON into YAML nodes. A YAML parser alone would
// not do: it rejects surrogate pairs in \u escapes and long keys, and takes
// much that is not JSON.
type jsonParser struct {
	src       []byte
	pos       int
	line      int
	lineStart int
	// colPos and colRunes remember how many characters of the line lie before
	// colPos, so that a file of one long line is not counted again and again.
	colPos, colRunes int
}

// parseJSON returns the root node of the single JSON value in src.
func parseJSON(src []byte) (*yaml.Node, *Error) {
	p := &jsonParser{src: src, line: 1}
	if strings.HasPrefix(string(src[:min(len(src), 3)]), "\ufeff") {
		p.pos, p.lineStart = 3, 3
	}
	if !utf8.Valid(src) {
		return nil, &Error{Reason: "not valid JSON: the text is not UTF-8"}
	}
	p.space()
	root, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.pos < len(p.src) {
		return nil, p.errorf("unexpected %s after the end of the value", p.peekName())
	}
	return root, nil
}

func (p *jsonParser) column() int {
	if p.colPos < p.lineStart {
		p.colPos, p.colRunes = p.lineStart, 0
	}
	p.colRunes += utf8.RuneCount(p.src[p.colPos:p.pos])
	p.colPos = p.pos
	return p.colRunes + 1
}

func (p *jsonParser) errorf(format string, args ...any) *Error {
	return &Error{Line: p.line, Column: p.column(), Reason: "not valid JSON: " + fmt.Sprintf(format, args...)}
}

func (p *jsonParser) peekName() string {
	if p.pos >= len(p.src) {
		return "end of the text"
	}
	r, _ := utf8.DecodeRune(p.src[p.pos:])
	return fmt.Sprintf("%q", r)
}

func (p *jsonParser) peek() byte {
	if p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

func (p *jsonParser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case '\n':
			p.line++
			p.lineStart = p.pos + 1
		case ' ', '\t', '\r':
		default:
			return
		}
		p.pos++
	}
}

func (p *jsonParser) node(kind yaml.Kind, tag string) *yaml.Node {
	return &yaml.Node{Kind: kind, Tag: tag, Line: p.line, Column: p.column()}
}

func (p *jsonParser) value(depth int) (*yaml.Node, *Error) {
	if depth > maxJSONDepth {
		return nil, p.errorf("nested more than %d levels deep", maxJSONDepth)
	}
	switch c := p.peek(); {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.str()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for word, tag := range map[string]string{"true": "!!bool", "false": "!!bool", "null": "!!null"} {
		if strings.HasPrefix(string(p.src[p.pos:min(len(p.src), p.pos+5)]), word) {
			n := p.node(yaml.ScalarNode, tag)
			n.Value = word
			p.pos += len(word)
			return n, nil
		}
	}
	return nil, p.errorf("expected a value, found %s", p.peekName())
}

func (p *jsonParser) object(depth int) (*yaml.Node, *Error) {
	n := p.node(yaml.MappingNode, "!!map")
	p.pos++
	p.space()
	for first := true; p.peek() != '}'; first = false {
		if !first {
			if p.peek() != ',' {
				return nil, p.errorf("expected a comma or }, found %s", p.peekName())
			}
			p.pos++
			p.space()
		}
		if p.peek() != '"' {
			return nil, p.errorf("expected a key in double quotes, found %s", p.peekName())
		}
		key, err := p.str()
		if err != nil {
			return nil, err
		}
		p.space()
		if p.peek() != ':' {
			return nil, p.errorf("expected a colon after the key, found %s", p.peekName())
		}
		p.pos++
		p.space()
		val, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, key, val)
		p.space()
	}
	p.pos++
	return n, nil
}

func (p *jsonParser) array(depth int) (*yaml.Node, *Error) {
	n := p.node(yaml.SequenceNode, "!!seq")
	p.pos++
	p.space()
	for first := true; p.peek() != ']'; first = false {
		if !first {
			if p.peek() != ',' {
				return nil, p.errorf("expected a comma or ], found %s", p.peekName())
			}
			p.pos++
			p.space()
		}
		val, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, val)
		p.space()
	}
	p.pos++
	return n, nil
}

func (p *jsonParser) str() (*yaml.Node, *Error) {
	n := p.node(yaml.ScalarNode, "!!str")
	n.Style = yaml.DoubleQuotedStyle
	end, escaped := p.pos+1, false
	for ; end < len(p.src) && p.src[end] != '"'; end++ {
		if p.src[end] < 0x20 {
			return nil, p.errorf("a string must escape its control characters")
		}
		if p.src[end] == '\\' {
			escaped = true
			end++
		}
	}
	if end >= len(p.src) {
		return nil, p.errorf("the string has no end")
	}
	quoted := p.src[p.pos : end+1]
	if !escaped {
		n.Value = string(quoted[1 : len(quoted)-1])
	} else if err := json.Unmarshal(quoted, &n.Value); err != nil {
		return nil, p.errorf("bad escape in string")
	}
	p.pos = end + 1
	return n, nil
}

func (p *jsonParser) number() (*yaml.Node, *Error) {
	end := p.pos
	for end < len(p.src) && strings.IndexByte("+-.eE0123456789", p.src[end]) >= 0 {
		end++
	}
	text := p.src[p.pos:end]
	if !json.Valid(text) {
		return nil, p.errorf("%q is not a number", text)
	}
	tag := "!!int"
	if strings.ContainsAny(string(text), ".eE") {
		tag = "!!float"
	}
	n := p.node(yaml.ScalarNode, tag)
	n.Value = string(text)
	p.pos = end
	return n, nil
}
