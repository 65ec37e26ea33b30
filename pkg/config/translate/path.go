package translate

import (
	"fmt"
	"slices"
	"strings"
)

// path leads to a field. It is a list from the field up to the root, so that going down costs no string.
type path struct {
	up    *path
	name  string
	index int // -1: none
	key   string
}

// String writes the path from the root.
func (p *path) String() string {
	var parts []*path
	for ; p != nil; p = p.up {
		parts = append(parts, p)
	}
	var b strings.Builder
	for _, p := range slices.Backward(parts) {
		if b.Len() > 0 && p.name != "" {
			b.WriteByte('.')
		}
		b.WriteString(p.name)
		switch {
		case p.key != "":
			fmt.Fprintf(&b, "[%q]", p.key)
		case p.index >= 0:
			fmt.Fprintf(&b, "[%d]", p.index)
		}
	}
	return b.String()
}

func (p *path) field(name string) *path       { return &path{up: p, name: name, index: -1} }
func (p *path) elem(name string, i int) *path { return &path{up: p, name: name, index: i} }
func (p *path) entry(name, key string) *path  { return &path{up: p, name: name, index: -1, key: key} }

// item is element i of the list that p leads to.
func (p *path) item(i int) *path {
	q := *p
	q.index = i
	return &q
}
