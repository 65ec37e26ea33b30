package model

import "net/netip"

// MetadataMatcher is envoy.type.matcher.v3.MetadataMatcher: it looks at the value at Path in the metadata of Filter.
type MetadataMatcher struct {
	Filter string
	Path   []string
	Value  ValueMatcher
	Invert bool
}

// ValueKind is the way a ValueMatcher decides.
type ValueKind uint8

// Value kinds.
const (
	ValueNull ValueKind = iota
	ValueRange
	ValueNumber
	ValueString
	ValueBool
	// ValuePresent accepts any string, number, boolean or null.
	ValuePresent
	// ValueList accepts lists of which one value is accepted by the first of Any.
	ValueList
	// ValueOr accepts what one of Any accepts.
	ValueOr
)

// ValueMatcher is envoy.type.matcher.v3.ValueMatcher. A value that is not there is never accepted.
type ValueMatcher struct {
	Kind ValueKind
	// Start inclusive and End exclusive of ValueRange; Start is the number of ValueNumber.
	Start, End float64
	String     StringMatcher
	// Bool is what ValueBool wants. A ValuePresent with false accepts nothing.
	Bool bool
	Any  []ValueMatcher
}

// FilterStateMatcher is envoy.type.matcher.v3.FilterStateMatcher: an object of the filter state as text, or as an IP address
// when Prefixes are given. A missing object does not match.
type FilterStateMatcher struct {
	Key      string
	String   StringMatcher
	Prefixes []netip.Prefix
	// InvertPrefixes accepts addresses that are in none of the Prefixes.
	InvertPrefixes bool
}
