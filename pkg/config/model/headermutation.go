package model

// HeaderMutations are applied removals first.
type HeaderMutations struct {
	RequestAdd     []HeaderOption
	RequestRemove  []string
	ResponseAdd    []HeaderOption
	ResponseRemove []string
}

// HeaderOption adds one header. Value is a format string with command operators (pkg/observe/format).
type HeaderOption struct {
	Name      string
	Value     string
	Append    AppendAction
	KeepEmpty bool
}

// AppendAction is HeaderValueOption.HeaderAppendAction.
type AppendAction uint8

// Append actions.
const (
	AppendOrAdd AppendAction = iota
	AddIfAbsent
	OverwriteOrAdd
	OverwriteIfExists
)
