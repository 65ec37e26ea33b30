package stats

// Tag is a name and value taken out of a stat name, such as envoy.cluster_name=web.
type Tag struct {
	Name, Value string
}

// TaggedName is a stat name split by the tag extraction rules. It is immutable.
type TaggedName struct {
	// Base is the name without the tags' values: "cluster.upstream_rq_total".
	Base string
	// Tags are in the order in which the rules found them.
	Tags []Tag
}

// TagExtractor splits stat names. It is immutable and safe for concurrent use.
type TagExtractor struct{}

// DefaultTagExtractor has Envoy's built-in rules.
func DefaultTagExtractor() *TagExtractor { return &TagExtractor{} }
