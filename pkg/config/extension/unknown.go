package extension

import (
	"fmt"
	"iter"
	"strings"

	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// UnknownError says that a registry has no extension for a type URL or name.
type UnknownError struct {
	// Category that was searched.
	Category string
	// TypeURL that was asked for; empty when Name was.
	TypeURL string
	// Name of the extension entry.
	Name string
	// Known tells that the type is one of Envoy's, so that weir's lack of it is the reason.
	Known bool
	// Disabled tells that there is such an extension, which Registry.Without left out.
	Disabled bool
	// Owner is the proxy that has the type, when it is not Envoy, such as istio; empty otherwise.
	Owner string
	// Suggestion is a type URL or name of the category that is spelled nearly the same; empty when there is none.
	Suggestion string
}

// Error names what is missing and, where it can, what was meant.
func (e *UnknownError) Error() string {
	what := "extension type " + e.TypeURL
	if e.TypeURL == "" {
		what = fmt.Sprintf("extension name %q (no typed_config)", e.Name)
	}
	if e.Disabled {
		return fmt.Sprintf("%s for %s is disabled", what, e.Category)
	}
	if e.Known {
		return fmt.Sprintf("%s for %s is known to Envoy but not supported by weir", what, e.Category)
	}
	if e.Owner != "" {
		return fmt.Sprintf("%s for %s is one of %s's proxy, which weir does not have", what, e.Category, e.Owner)
	}
	if e.Suggestion != "" {
		return fmt.Sprintf("unknown %s for %s; did you mean %s?", what, e.Category, e.Suggestion)
	}
	return fmt.Sprintf("unknown %s for %s", what, e.Category)
}

// unknown builds the error for a miss.
func (r *Registry) unknown(category, typeURL, name string) *UnknownError {
	e := &UnknownError{Category: category, TypeURL: typeURL, Name: name}
	wanted := name
	if typeURL != "" {
		wanted = messageName(typeURL)
	}
	if r.off[key{category, wanted}] {
		e.Disabled = true
		return e
	}
	if typeURL != "" {
		_, err := protoregistry.GlobalTypes.FindMessageByURL(typeURL)
		e.Known = err == nil && (strings.HasPrefix(wanted, "envoy.") || strings.HasPrefix(wanted, "xds."))
		if e.Owner, _ = protoyaml.Foreign(typeURL); e.Known || e.Owner != "" {
			return e
		}
	}
	best := 1 + max(2, len(wanted)/5)
	for _, f := range r.all {
		if f.Category != category {
			continue
		}
		candidates := append([]string{f.Name}, f.Aliases...)
		if typeURL != "" {
			candidates = []string{messageName(f.TypeURL())}
		}
		for _, c := range candidates {
			if d := distance(strings.ToLower(wanted), strings.ToLower(c)); d < best {
				best, e.Suggestion = d, c
				if typeURL != "" {
					e.Suggestion = typePrefix + c
				}
			}
		}
	}
	return e
}

// Nearest is the candidate that is spelled most nearly as name, if any is near enough to have been meant; otherwise empty.
// Of several the first in the order of the alphabet is taken.
func Nearest(name string, candidates iter.Seq[string]) string {
	if candidates == nil || name == "" {
		return ""
	}
	near, best := "", 1+max(2, len(name)/5)
	for c := range candidates {
		d := distance(strings.ToLower(name), strings.ToLower(c))
		if d < best || d == best && near != "" && c < near {
			near, best = c, d
		}
	}
	return near
}

// maxCompared bounds the strings that distance works on: names are short, and input is not trusted.
const maxCompared = 256

// distance is the Levenshtein distance between a and b.
func distance(a, b string) int {
	if len(a) > maxCompared || len(b) > maxCompared {
		return maxCompared
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
