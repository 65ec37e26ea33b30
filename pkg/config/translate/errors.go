package translate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Code is a kind of finding, for programs: the codes of errors and warnings stay as they are.
type Code string

// Kinds of findings.
const (
	// CodeInvalid is what the resource may not say.
	CodeInvalid Code = "invalid"
	// CodeRule is a value that violates a rule of protoc-gen-validate.
	CodeRule Code = "rule"
	// CodeUnsupported is what Envoy would act on and weir does not.
	CodeUnsupported Code = "unsupported"
	// CodeUnknownField is a field that is newer than weir.
	CodeUnknownField Code = "unknown-field"
	// CodeUnknownExtension is an extension that is neither weir's nor Envoy's.
	CodeUnknownExtension Code = "unknown-extension"
	// CodeReference is a name that nothing has.
	CodeReference Code = "unknown-reference"
	// CodeDuplicate is a name that two resources have.
	CodeDuplicate Code = "duplicate-name"
	// CodeAddress is an address that two listeners want.
	CodeAddress Code = "address-clash"
	// CodeNotice is what has another effect than may be expected.
	CodeNotice Code = "notice"
)

// FieldError is one reason why a resource is refused.
type FieldError struct {
	// Resource is the kind and name, such as `listener "ingress"`; empty for the bootstrap itself.
	Resource string
	// Path leads to the field in proto names, such as filter_chains[0].filters[1].typed_config.stat_prefix.
	Path string
	// Reason says what is wrong.
	Reason string
	Code   Code
	// Suggestion says what may have been meant; empty when nothing is likely.
	Suggestion string
	// Root leads from the bootstrap to the resource, such as static_resources.listeners[2]; empty when the resource is not
	// part of a bootstrap, or the place is not known.
	Root string
}

// Error joins resource, path, reason and suggestion.
func (e *FieldError) Error() string {
	return join(e.Resource, e.Path, suggested(e.Reason, e.Suggestion))
}

// Warning is configuration that was accepted but has no effect, or not the one that it has in Envoy.
type Warning struct {
	// Resource and Path are as in FieldError.
	Resource, Path string
	// Reason says what is not done.
	Reason string
	// Code, Suggestion and Root are as in FieldError. The code CodeUnsupported is what --reject-unsupported refuses.
	Code             Code
	Suggestion, Root string
}

// String joins resource, path, reason and suggestion.
func (w Warning) String() string { return join(w.Resource, w.Path, suggested(w.Reason, w.Suggestion)) }

func suggested(reason, suggestion string) string {
	if suggestion == "" {
		return reason
	}
	return fmt.Sprintf("%s (%s)", reason, suggestion)
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// FieldErrors returns the field errors that err was joined of.
func FieldErrors(err error) []*FieldError {
	if err == nil {
		return nil
	}
	var one *FieldError
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*FieldError
		for _, e := range many.Unwrap() {
			all = append(all, FieldErrors(e)...)
		}
		return all
	}
	if errors.As(err, &one) {
		return []*FieldError{one}
	}
	return nil
}
