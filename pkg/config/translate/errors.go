package translate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// FieldError is one reason why a resource is refused.
type FieldError struct {
	// Resource is the kind and name, such as `listener "ingress"`; empty for the bootstrap itself.
	Resource string
	// Path leads to the field in proto names, such as filter_chains[0].filters[1].typed_config.stat_prefix.
	Path string
	// Reason says what is wrong.
	Reason string
}

// Error joins resource, path and reason.
func (e *FieldError) Error() string { return join(e.Resource, e.Path, e.Reason) }

// Warning is configuration that was accepted but has no effect, or not the one that it has in Envoy.
type Warning struct {
	// Resource and Path are as in FieldError.
	Resource, Path string
	// Reason says what is not done.
	Reason string
}

// String joins resource, path and reason.
func (w Warning) String() string { return join(w.Resource, w.Path, w.Reason) }

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

// path leads to a field. It is a list from the field up to the root, so that going down costs no string.
type path struct {
	up    *path
	name  string
	index int // -1: none
	key   string
}

// String writes the path from the root.
func (p *path) String() string {
	var parts []*path
	for ; p != nil; p = p.up {
		parts = append(parts, p)
	}
	var b strings.Builder
	for _, p := range slices.Backward(parts) {
		if b.Len() > 0 && p.name != "" {
			b.WriteByte('.')
		}
		b.WriteString(p.name)
		switch {
		case p.key != "":
			fmt.Fprintf(&b, "[%q]", p.key)
		case p.index >= 0:
			fmt.Fprintf(&b, "[%d]", p.index)
		}
	}
	return b.String()
}

func (p *path) field(name string) *path       { return &path{up: p, name: name, index: -1} }
func (p *path) elem(name string, i int) *path { return &path{up: p, name: name, index: i} }
func (p *path) entry(name, key string) *path  { return &path{up: p, name: name, index: -1, key: key} }

// item is element i of the list that p leads to.
func (p *path) item(i int) *path {
	q := *p
	q.index = i
	return &q
}
