package stats

import (
	"fmt"
	"slices"
	"strings"
)

// TaggedName is a stat name split by the tag extraction rules. It is immutable.
type TaggedName struct {
	// Base is the name without the tags' values: "cluster.upstream_rq_total".
	Base string
	// Tags are the fixed tags, then the others in the order in which the rules found them.
	Tags []Tag
}

// TagRule is one of StatsConfig.stats_tags: either a regular expression or a fixed value.
type TagRule struct {
	// Name is the tag's name.
	Name string
	// Regex finds the tag in a stat name: the first group is removed from the name, the second (or
	// the first if there is no second) is the value. With neither Regex nor Fixed, the rule stands
	// for the built-in rules of that name.
	Regex string
	// Fixed is a value that every stat gets.
	Fixed string
}

// TagExtractor splits stat names. It is immutable and safe for concurrent use.
type TagExtractor struct {
	fixed   []Tag
	general []*tagRule            // may match any name; tried first, as in Envoy
	byFirst map[string][]*tagRule // by the first token that the name must have
}

// DefaultTagExtractor has Envoy's built-in rules.
func DefaultTagExtractor() *TagExtractor {
	x := &TagExtractor{byFirst: make(map[string][]*tagRule)}
	for _, r := range builtinRules() {
		x.add(r)
	}
	return x
}

// NewTagExtractor has the built-in rules if useDefaults (StatsConfig.use_all_default_tags), and the
// custom ones, which replace built-in rules of the same name. An error names the rule and says what
// is wrong with it.
func NewTagExtractor(useDefaults bool, custom []TagRule) (*TagExtractor, error) {
	x := &TagExtractor{byFirst: make(map[string][]*tagRule)}
	builtin := builtinRules()
	if useDefaults {
		for _, r := range builtin {
			if !slices.ContainsFunc(custom, func(c TagRule) bool { return c.Name == r.tag }) {
				x.add(r)
			}
		}
	}
	for i, c := range custom {
		if err := x.addCustom(c, builtin); err != nil {
			return nil, fmt.Errorf("stats_tags[%d]: %w", i, err)
		}
	}
	return x, nil
}

func (x *TagExtractor) addCustom(c TagRule, builtin []*tagRule) error {
	switch {
	case c.Name == "":
		return fmt.Errorf("tag_name: must not be empty")
	case c.Fixed != "":
		x.fixed = append(x.fixed, Tag{Name: c.Name, Value: c.Fixed})
	case c.Regex != "":
		re, err := compileTag(c.Regex)
		if err != nil {
			return fmt.Errorf("regex of tag %q: %w", c.Name, err)
		}
		x.add(&tagRule{tag: c.Name, re: re})
	default:
		found := false
		for _, r := range builtin {
			if r.tag == c.Name {
				x.add(r)
				found = true
			}
		}
		if !found {
			return fmt.Errorf("tag %q: no regex given and no built-in one for that name", c.Name)
		}
	}
	return nil
}

func (x *TagExtractor) add(r *tagRule) {
	if first := r.firstToken(); first != "" {
		x.byFirst[first] = append(x.byFirst[first], r)
		return
	}
	x.general = append(x.general, r)
}

// span is a byte range of a name.
type span struct{ start, end int }

// Extract splits a name. All rules see the whole name; what they matched is removed at the end.
func (x *TagExtractor) Extract(name string) TaggedName {
	tokens := strings.Split(name, ".")
	var removed []span
	out := TaggedName{Base: name, Tags: slices.Clip(x.fixed)}
	for _, rules := range [2][]*tagRule{x.general, x.byFirst[tokens[0]]} {
		for _, r := range rules {
			value, cut, ok := r.match(name, tokens)
			if !ok || hasTag(out.Tags, r.tag) {
				continue
			}
			out.Tags = append(out.Tags, Tag{Name: r.tag, Value: value})
			removed = append(removed, cut)
		}
	}
	if len(removed) != 0 {
		out.Base = without(name, removed)
	}
	return out
}

func hasTag(tags []Tag, name string) bool {
	return slices.ContainsFunc(tags, func(t Tag) bool { return t.Name == name })
}

// without gives s less the spans, which may overlap.
func without(s string, spans []span) string {
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	var out strings.Builder
	at := 0
	for _, sp := range spans {
		if sp.start > at {
			out.WriteString(s[at:sp.start])
		}
		at = max(at, sp.end)
	}
	out.WriteString(s[at:])
	return out.String()
}
