package matcher

import (
	"strconv"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// list is matcher_list: the first predicate that holds decides.
type list struct {
	predicates []predicate
	outcomes   []Outcome
}

func (l *list) find(d *Data) (action any, ok, decided bool) {
	for i, p := range l.predicates {
		if p.holds(d) {
			if d.Trace != nil {
				d.trace("matchers[", strconv.Itoa(i), "]: ", p.String())
			}
			action, ok = l.outcomes[i].follow(d)
			return action, ok, true
		}
	}
	return nil, false, false
}

func (l *list) each(f func(*Outcome)) {
	for i := range l.outcomes {
		f(&l.outcomes[i])
	}
}

// predicate is a condition.
type predicate interface {
	holds(d *Data) bool
	String() string
}

// single asks a matcher about an input.
type single struct {
	input   Input
	matcher Matcher
}

func (p *single) holds(d *Data) bool { return p.matcher.Match(p.input.Value(d), d) }
func (p *single) String() string     { return p.input.String() + " " + p.matcher.String() }

type allOf []predicate

func (ps allOf) holds(d *Data) bool {
	for _, p := range ps {
		if !p.holds(d) {
			return false
		}
	}
	return true
}

func (ps allOf) String() string { return joined(ps, " and ") }

type anyOf []predicate

func (ps anyOf) holds(d *Data) bool {
	for _, p := range ps {
		if p.holds(d) {
			return true
		}
	}
	return false
}

func (ps anyOf) String() string { return joined(ps, " or ") }

func joined(ps []predicate, word string) string {
	out := "("
	for i, p := range ps {
		if i > 0 {
			out += word
		}
		out += p.String()
	}
	return out + ")"
}

type not struct{ inner predicate }

func (p not) holds(d *Data) bool { return !p.inner.holds(d) }
func (p not) String() string     { return "not " + p.inner.String() }

// textMatcher is value_match.
type textMatcher struct{ m model.StringMatcher }

func (t *textMatcher) Match(v Value, _ *Data) bool {
	return v.Present && v.Any == nil && match.String(&t.m, v.Text)
}

func (t *textMatcher) String() string {
	out := [...]string{"=", "prefix", "suffix", "contains", "regex"}[t.m.Kind] + " " + strconv.Quote(t.m.Value)
	if t.m.IgnoreCase {
		out += " without case"
	}
	return out
}
