package router

import (
	"regexp"
	"regexp/syntax"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// smallTable is the number of routes up to which asking them one after the other is cheaper than an index.
const smallTable = 3

// index finds the first route of a list that takes a request, without asking those whose path cannot fit. It is immutable.
//
// Each route is in one place by its path criterion. As every list is ascending, the first route that fits is the least of
// the first ones that fit of each list that a path leads to.
type index struct {
	entries []*entry
	exact   map[string][]int32
	// prefix holds prefixes and what begins with fixed text; fold holds the same for criteria that ignore case, and exact
	// paths that do.
	prefix, fold *trie
	// connect are the routes for CONNECT, others those of which nothing is known beforehand.
	connect, others []int32
}

func newIndex(entries []*entry) index {
	x := index{entries: entries}
	if len(entries) <= smallTable {
		return x
	}
	x.exact, x.prefix, x.fold = map[string][]int32{}, &trie{}, &trie{}
	for i, e := range entries {
		x.place(e, int32(i))
	}
	if len(x.fold.kids) == 0 && len(x.fold.routes) == 0 {
		x.fold = nil
	}
	return x
}

func (x *index) place(e *entry, i int32) {
	m := &e.route.Match
	switch m.Kind {
	case model.PathConnect:
		x.connect = append(x.connect, i)
	case model.PathRegex, model.PathTemplate:
		if e.fixed != "" {
			x.prefix.insert(e.fixed, i)
		} else {
			x.others = append(x.others, i)
		}
	case model.PathExact:
		if m.IgnoreCase {
			x.fold.insert(lowerText(m.Path), i)
		} else {
			x.exact[m.Path] = append(x.exact[m.Path], i)
		}
	default:
		if m.IgnoreCase {
			x.fold.insert(lowerText(m.Path), i)
		} else {
			x.prefix.insert(m.Path, i)
		}
	}
}

// regexShape tells expressions that need no matching: fixed text alone, or fixed text and then anything.
type regexShape uint8

const (
	regexAny regexShape = iota
	regexExact
	regexPrefix
)

// shapeOf is the shape of an anchored expression, and the text that everything begins with that it matches.
func shapeOf(re *regexp.Regexp) (shape regexShape, fixed string) {
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return regexAny, ""
	}
	tree = tree.Simplify()
	if tree.Op != syntax.OpConcat || len(tree.Sub) < 2 || tree.Sub[0].Op != syntax.OpBeginText {
		return regexAny, ""
	}
	inner, closed := tree.Sub[1:], tree.Sub[len(tree.Sub)-1].Op == syntax.OpEndText
	if closed {
		inner = inner[:len(inner)-1]
	}
	for len(inner) > 0 && inner[0].Op == syntax.OpConcat {
		closed = closed && len(inner) == 1
		inner = inner[0].Sub
	}
	if len(inner) == 0 || inner[0].Op != syntax.OpLiteral || inner[0].Flags&syntax.FoldCase != 0 {
		return regexAny, ""
	}
	fixed = string(inner[0].Rune)
	switch {
	case closed && len(inner) == 1:
		return regexExact, fixed
	case closed && len(inner) == 2 && inner[1].Op == syntax.OpStar && inner[1].Sub[0].Op == syntax.OpAnyCharNotNL:
		return regexPrefix, fixed
	}
	return regexAny, fixed
}

// find returns the first entry that takes the request, nil when none does.
func (x *index) find(q *question) *entry {
	if x.exact == nil {
		return firstOf(x.entries, q)
	}
	best := len(x.entries)
	if len(x.connect) > 0 && q.isConnect() {
		best = x.least(x.connect, q, best)
	}
	if q.path != "" {
		if len(x.exact) > 0 {
			best = x.least(x.exact[q.path], q, best)
		}
		best = x.least(x.prefix.routes, q, best)
		for t, rest := x.prefix.next(q.path); t != nil; t, rest = t.next(rest) {
			best = x.least(t.routes, q, best)
		}
		if x.fold != nil {
			best = x.least(x.fold.routes, q, best)
			for t, rest := x.fold.nextFold(q.path); t != nil; t, rest = t.nextFold(rest) {
				best = x.least(t.routes, q, best)
			}
		}
		best = x.least(x.others, q, best)
	}
	if best == len(x.entries) {
		return nil
	}
	return x.entries[best]
}

// least is the first of an ascending list of routes that takes the request, when it comes before best.
func (x *index) least(list []int32, q *question, best int) int {
	for _, i := range list {
		if int(i) >= best {
			break
		}
		if x.entries[i].matches(q) {
			return int(i)
		}
	}
	return best
}

// firstOf asks the entries one after the other.
func firstOf(entries []*entry, q *question) *entry {
	for _, e := range entries {
		if e.matches(q) {
			return e
		}
	}
	return nil
}
