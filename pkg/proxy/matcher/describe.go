package matcher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String describes the tree for people, one decision a line. Actions are left out.
func (t *Tree) String() string {
	var b strings.Builder
	t.describe(&b, "")
	return b.String()
}

func (t *Tree) describe(b *strings.Builder, indent string) {
	switch n := t.node.(type) {
	case *list:
		for i, p := range n.predicates {
			n.outcomes[i].describe(b, indent, "if "+p.String())
		}
	case *exactMap:
		describeMap(b, indent, n.input.String()+" = ", n.outcomes)
	case *prefixMap:
		describeMap(b, indent, n.input.String()+" begins with ", n.outcomes)
	case *domainMap:
		describeMap(b, indent, n.input.String()+" in domain ", n.outcomes)
	case *ipMap:
		for i, o := range n.all {
			var in []string
			for p, other := range n.outcomes {
				if other == o {
					in = append(in, p.String())
				}
			}
			slices.Sort(in)
			what := fmt.Sprintf("%s in %s", n.input, strings.Join(in, ", "))
			if o.exclusive {
				what += ", exclusive"
			}
			n.all[i].describe(b, indent, what)
		}
	}
	if t.noMatch != nil {
		t.noMatch.describe(b, indent, "otherwise")
	}
}

func describeMap(b *strings.Builder, indent, what string, outcomes map[string]*Outcome) {
	for _, key := range slices.Sorted(maps.Keys(outcomes)) {
		outcomes[key].describe(b, indent, what+key)
	}
}

func (o *Outcome) describe(b *strings.Builder, indent, condition string) {
	b.WriteString(indent + condition + "\n")
	if o.Tree != nil {
		o.Tree.describe(b, indent+"  ")
	}
}
