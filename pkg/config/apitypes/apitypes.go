// Package apitypes registers every v3 message of Envoy's API, and the xds and
// udpa messages that it refers to, with protoregistry.GlobalTypes.
//
// It owns one generated list of blank imports and nothing else: no functions
// that act, no state, no locking. It exists so that a configuration which
// names an extension that weir does not implement is told apart from one that
// names a type which does not exist, and so that such a resource can still be
// decoded, validated and printed.
//
// Packages that decode configuration do not import it themselves: the program
// does (through pkg/config/bootstrap), so that small tools can choose not to
// pay for it.
package apitypes

//go:generate go run ./gen -o imports.go
