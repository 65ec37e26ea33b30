package model

import "regexp"

// PathKind is the way a route matches the path.
type PathKind uint8

// Path kinds.
const (
	PathPrefix PathKind = iota
	PathExact
	PathSeparatedPrefix
	PathRegex
	PathConnect
	// PathTemplate is the URI template of path_match_policy.
	PathTemplate
)

// RouteMatch is envoy.config.route.v3.RouteMatch. All criteria must hold.
type RouteMatch struct {
	Kind PathKind
	// Path is the prefix or path; lower case when IgnoreCase.
	Path       string
	IgnoreCase bool
	Regex      *regexp.Regexp // of PathRegex and PathTemplate; matches the whole path without query
	// Template is the text of a PathTemplate.
	Template string
	Headers  []HeaderMatcher
	Query    []QueryMatcher
	Cookies  []CookieMatcher
	GRPC     bool
	// TLS asks about the client's certificate; nil does not.
	TLS *TLSMatch
	// Metadata are criteria on the stream's dynamic metadata, FilterState on its filter state.
	Metadata    []MetadataMatcher
	FilterState []FilterStateMatcher
	// Fraction of requests that match, in FractionDenominator; nil matches all.
	Fraction *Fraction
}

// TLSMatch is RouteMatch.TlsContextMatchOptions; nil criteria do not matter.
type TLSMatch struct {
	// Presented and Validated are the wanted answers.
	Presented, Validated *bool
}

// CookieMatcher is envoy.config.route.v3.CookieMatcher. A missing cookie does not match, so Invert makes it match.
type CookieMatcher struct {
	Name   string
	String StringMatcher
	Invert bool
}

// Fraction is a RuntimeFractionalPercent: Numerator of Denominator (100, 10,000 or 1,000,000), which RuntimeKey can override.
type Fraction struct {
	Numerator, Denominator uint32
	RuntimeKey             string
}

// HeaderMatchKind is the way a HeaderMatcher decides.
type HeaderMatchKind uint8

// Header match kinds.
const (
	HeaderString HeaderMatchKind = iota
	HeaderPresent
	HeaderRange
)

// HeaderMatcher is envoy.config.route.v3.HeaderMatcher.
type HeaderMatcher struct {
	Name   string // lower case
	Kind   HeaderMatchKind
	String StringMatcher
	// Start and End of HeaderRange: Start inclusive, End exclusive.
	Start, End int64
	// Present is the wanted presence for HeaderPresent.
	Present bool
	Invert  bool
	// MissingAsEmpty treats a missing header as an empty value.
	MissingAsEmpty bool
}

// QueryMatcher is QueryParameterMatcher: presence only when Present is set.
type QueryMatcher struct {
	Name    string
	Present bool
	String  StringMatcher
}
