package decode

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// TreeReader reads what a generic matcher tree holds for others: who decodes a tree says by it where its extensions and
// actions come from. Paths are below the tree's message.
type TreeReader struct {
	// Extension decodes an input or a matcher of values of a category.
	Extension func(category string, e *xdscorev3.TypedExtensionConfig, path string) (any, error)
	// Unpack gives the message of the custom matcher of a matcher_tree.
	Unpack func(a *anypb.Any, path string) (proto.Message, error)
	// Action decodes an action.
	Action func(e *xdscorev3.TypedExtensionConfig, path string) (any, error)
	// Inputs is the category of the inputs; empty means extension.MatchingHTTPInputs.
	Inputs string
}

// PathError is a fault of one field.
type PathError struct {
	Path string // below the message that was decoded; may be empty
	Err  error
}

// Error joins path and reason.
func (e *PathError) Error() string {
	if e.Path == "" {
		return e.Err.Error()
	}
	return e.Path + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *PathError) Unwrap() error { return e.Err }
