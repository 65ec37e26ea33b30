package model

// Mirror is RouteAction.RequestMirrorPolicy: a copy of the request goes to another cluster and its response is dropped.
type Mirror struct {
	// Exactly one of Cluster and ClusterHeader is set; ClusterHeader is lower case.
	Cluster       string
	ClusterHeader string
	// Fraction of requests that are mirrored; nil mirrors all.
	Fraction *Fraction
	// KeepHost leaves the host as it is instead of appending "-shadow".
	KeepHost bool
}

// InternalRedirect is envoy.config.route.v3.InternalRedirectPolicy: redirects of the upstream that are followed here.
type InternalRedirect struct {
	// Max is how many redirects of one request are followed. Default 1.
	Max uint32
	// Codes are the statuses that are followed. Default 302 only.
	Codes []int
	// AllowCrossScheme lets a redirect change between http and https.
	AllowCrossScheme bool
	// CopyHeaders of the response replace those of the request; lower case.
	CopyHeaders []string
	// PreviousRoutes is the previous_routes predicate: no route twice.
	PreviousRoutes bool
	// SafeCrossScheme is the safe_cross_scheme predicate: never from http to https.
	SafeCrossScheme bool
	// AllowedRoutes are the allow_listed_routes predicates: each lists the names of routes that may be the target.
	AllowedRoutes [][]string
}
