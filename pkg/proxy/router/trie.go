package router

import (
	"bytes"
	"strings"

	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// trie finds the routes whose fixed beginning a path begins with: a radix tree over those beginnings. It is immutable once
// built.
type trie struct {
	// label is what leads here from the node above.
	label string
	// routes are the indexes of the routes that begin with what leads here from the root, ascending.
	routes []int32
	// keys are the first bytes of the labels of kids, in their order.
	keys []byte
	kids []*trie
}

// insert adds a route; routes must come in ascending order.
func (t *trie) insert(prefix string, route int32) {
	for {
		if prefix == "" {
			t.routes = append(t.routes, route)
			return
		}
		at := bytes.IndexByte(t.keys, prefix[0])
		if at < 0 {
			t.keys = append(t.keys, prefix[0])
			t.kids = append(t.kids, &trie{label: prefix, routes: []int32{route}})
			return
		}
		kid := t.kids[at]
		n := commonLength(kid.label, prefix)
		if n < len(kid.label) {
			mid := &trie{label: kid.label[:n], keys: []byte{kid.label[n]}, kids: []*trie{kid}}
			kid.label = kid.label[n:]
			t.kids[at], kid = mid, mid
		}
		t, prefix = kid, prefix[n:]
	}
}

func commonLength(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// next is the node below t that path leads to, and what is left of path behind it; nil when there is none.
func (t *trie) next(path string) (*trie, string) {
	if path == "" {
		return nil, ""
	}
	at := bytes.IndexByte(t.keys, path[0])
	if at < 0 || !strings.HasPrefix(path, t.kids[at].label) {
		return nil, ""
	}
	return t.kids[at], path[len(t.kids[at].label):]
}

// nextFold is next for a tree of lower-case text, whatever the case of path.
func (t *trie) nextFold(path string) (*trie, string) {
	if path == "" {
		return nil, ""
	}
	at := bytes.IndexByte(t.keys, lowerByte(path[0]))
	if at < 0 || !match.HasPrefix(path, t.kids[at].label, true) {
		return nil, ""
	}
	return t.kids[at], path[len(t.kids[at].label):]
}

// lowerText lowers ASCII letters, as the comparison without case does.
func lowerText(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lowerByte(c)
	}
	return string(b)
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
