package model

// AccessLog is one configured access logger. Config was decoded by the logger's own package
// (pkg/observe/accesslog/...), which alone knows its type.
type AccessLog struct {
	Name    string
	TypeURL string
	Config  any
	// Filter decides which requests are logged; nil logs all. It too was decoded by pkg/observe/accesslog.
	Filter any
}
