package translate

func matcherTreeTable() table {
	const matcher = "xds.type.matcher.v3."
	t := table{}
	t.message("xds.core.v3.TypedExtensionConfig", "name typed_config")
	t.message("envoy.config.route.v3.RouteList", "routes")
	t.message(matcher+"Matcher", "matcher_list matcher_tree on_no_match")
	t.message(matcher+"Matcher.OnMatch", "matcher action keep_matching")
	t.message(matcher+"Matcher.MatcherList", "matchers")
	t.message(matcher+"Matcher.MatcherList.FieldMatcher", "predicate on_match")
	t.message(matcher+"Matcher.MatcherList.Predicate", "single_predicate or_matcher and_matcher not_matcher")
	t.message(matcher+"Matcher.MatcherList.Predicate.SinglePredicate", "input value_match custom_match")
	t.message(matcher+"Matcher.MatcherList.Predicate.PredicateList", "predicate")
	t.message(matcher+"Matcher.MatcherTree", "input exact_match_map prefix_match_map custom_match")
	t.message(matcher+"Matcher.MatcherTree.MatchMap", "map")
	t.message(matcher+"IPMatcher", "range_matchers")
	t.message(matcher+"IPMatcher.IPRangeMatcher", "ranges on_match exclusive")
	t.message(matcher+"ServerNameMatcher", "domain_matchers")
	t.message(matcher+"ServerNameMatcher.DomainMatcher", "domains on_match")
	t.message(matcher+"StringMatcher", "exact prefix suffix safe_regex contains ignore_case")
	t.message(matcher+"RegexMatcher", "regex", "google_re2", "every regular expression is RE2")
	return t
}
