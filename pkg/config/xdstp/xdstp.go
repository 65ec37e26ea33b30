// Package xdstp reads and writes resource names of the form xdstp://AUTHORITY/TYPE/ID?CONTEXT#DIRECTIVES (xRFC TP1).
//
// It owns nothing and must not know who serves a name. Values are immutable.
package xdstp

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

const scheme = "xdstp://"

// Characters that are escaped beside those that are no printable ASCII, part by part, as Envoy does.
const (
	inAuthority = "%/?#"
	inID        = "%:?#[]"
	inContext   = "%#[]&="
)

// Name is a parsed resource name.
type Name struct {
	// Authority may be empty.
	Authority string
	// Type is the full name of the resource's message, without a prefix.
	Type string
	// ID may hold slashes.
	ID string
	// Context are the context parameters, nil for none.
	Context map[string]string
}

// Is tells whether a resource name is of this form.
func Is(name string) bool { return strings.HasPrefix(name, scheme) }

// Parse reads a name. Directives behind # say how to read a list and are no part of the name; there must be none here.
func Parse(text string) (Name, error) {
	fail := func(reason string) (Name, error) {
		return Name{}, fmt.Errorf("parse resource name %q: %s", text, reason)
	}
	rest, ok := strings.CutPrefix(text, scheme)
	if !ok {
		return fail("must begin with " + scheme)
	}
	rest, directives, _ := strings.Cut(rest, "#")
	if directives != "" {
		return fail("directives are not supported")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, ok := strings.Cut(rest, "/")
	if !ok {
		return fail("has no resource type")
	}
	kind, id, _ := strings.Cut(path, "/")
	if kind == "" || id == "" {
		return fail("must have a type and an identifier")
	}
	n := Name{Type: kind}
	var errs [2]error
	n.Authority, errs[0] = url.PathUnescape(authority)
	n.ID, errs[1] = url.PathUnescape(id)
	if err := errors.Join(errs[0], errs[1]); err != nil {
		return fail(err.Error())
	}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, errs[0] = url.PathUnescape(key)
		value, errs[1] = url.PathUnescape(value)
		if err := errors.Join(errs[0], errs[1]); err != nil {
			return fail(err.Error())
		}
		if n.Context == nil {
			n.Context = map[string]string{}
		}
		n.Context[key] = value
	}
	return n, nil
}

// With returns the name with further context parameters; those that it has itself win.
func (n Name) With(context map[string]string) Name {
	if len(context) == 0 {
		return n
	}
	all := maps.Clone(context)
	maps.Copy(all, n.Context)
	n.Context = all
	return n
}

// Collection tells that the name stands for all resources below it (glob collection).
func (n Name) Collection() bool { return n.ID == "*" || strings.HasSuffix(n.ID, "/*") }

// String is the canonical form: equal names are equal strings, with context parameters sorted by key.
func (n Name) String() string {
	var b strings.Builder
	b.WriteString(scheme)
	escape(&b, n.Authority, inAuthority)
	b.WriteByte('/')
	b.WriteString(n.Type)
	b.WriteByte('/')
	escape(&b, n.ID, inID)
	for i, key := range slices.Sorted(maps.Keys(n.Context)) {
		b.WriteByte("?&"[min(i, 1)])
		escape(&b, key, inContext)
		b.WriteByte('=')
		escape(&b, n.Context[key], inContext)
	}
	return b.String()
}

func escape(b *strings.Builder, text, reserved string) {
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' || strings.IndexByte(reserved, c) >= 0 {
			fmt.Fprintf(b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
}
