// Package check judges configuration before it runs: bootstraps and files of resources, one by one or together.
//
// It owns the list of findings, each with its place in a file, the resource, the field, and what may have been meant. What
// a configuration means it leaves to translate. It starts nothing, and opens nothing but files. A Checker holds no state
// between calls and is safe for concurrent use.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
)

// Severity is how bad a finding is.
type Severity string

// Severities.
const (
	// Error makes a configuration unusable.
	Error Severity = "error"
	// Warning is configuration that has no effect, or another one than may be expected.
	Warning Severity = "warning"
	// Info is worth knowing.
	Info Severity = "info"
)

// Finding is one thing to say of a configuration. Its JSON form is documented by `weirctl validate --help` and stays.
type Finding struct {
	Severity Severity `json:"severity"`
	// File as it was named, or --config-yaml. Line and Column count from 1; 0 means unknown.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// Type and Name are those of the resource, such as listener and ingress; both are empty for what is of the bootstrap
	// itself, or of a resource that cannot be told.
	Type string `json:"resource_type,omitempty"`
	Name string `json:"resource_name,omitempty"`
	// Field is the path from the resource, or else from the top of the file, in proto names.
	Field string `json:"field,omitempty"`
	// Code is the kind of finding, one of protoyaml's or translate's codes.
	Code string `json:"code"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Expected says what should be there, and Suggestion what may have been meant; either may be empty.
	Expected   string `json:"expected,omitempty"`
	Suggestion string `json:"suggestion,omitempty"`
}

// Kinds of findings beside those of protoyaml and translate.
const (
	// CodeFile is a file that cannot be read or is of no known kind.
	CodeFile = "file"
	// CodeUnused is a resource that nothing refers to.
	CodeUnused = "unused"
	// CodeIdleKey is a runtime key that nothing reads.
	CodeIdleKey = "idle_runtime_key"
)

// String is file:line:column: resource: field: message (suggestion), without what is unknown.
func (f Finding) String() string {
	parts := []string{f.place(), f.resource(), f.Field, f.Message}
	text := strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
	if f.Suggestion != "" {
		text += " (" + f.Suggestion + ")"
	}
	return text
}

func (f Finding) place() string {
	switch {
	case f.Line == 0:
		return f.File
	case f.Column == 0:
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
}

func (f Finding) resource() string {
	if f.Type == "" {
		return ""
	}
	return fmt.Sprintf("%s %q", f.Type, f.Name)
}

// Findings are the findings of a configuration.
type Findings []Finding

// Error lists the errors, one a line.
func (l Findings) Error() string {
	var lines []string
	for _, f := range l.Of(Error) {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

// Of returns the findings of a severity.
func (l Findings) Of(s Severity) Findings {
	var out Findings
	for _, f := range l {
		if f.Severity == s {
			out = append(out, f)
		}
	}
	return out
}

// Err is the list as an error, nil when none of it is one.
func (l Findings) Err() error {
	if errs := l.Of(Error); len(errs) > 0 {
		return errs
	}
	return nil
}

// Unsupported counts what weir would not act on.
func (l Findings) Unsupported() int {
	n := 0
	for _, f := range l {
		if f.Code == string(translate.CodeUnsupported) {
			n++
		}
	}
	return n
}

// sorted orders the findings by place and drops repetitions.
func (l Findings) sorted() Findings {
	slices.SortStableFunc(l, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	seen := map[Finding]bool{}
	return slices.DeleteFunc(l, func(f Finding) bool {
		was := seen[f]
		seen[f] = true
		return was
	})
}

// decoded is a finding of decoding.
func decoded(s Severity, e protoyaml.Error) Finding {
	return Finding{
		Severity: s, File: e.File, Line: e.Line, Column: e.Column, Field: e.Path,
		Code: string(e.Code), Message: e.Reason, Expected: e.Expected(), Suggestion: e.Suggestion,
	}
}

// failed and warned are findings of translation, whose place is still to be found.
func failed(e *translate.FieldError) Finding {
	f := Finding{Severity: Error, Field: e.Path, Code: string(e.Code), Message: e.Reason, Suggestion: e.Suggestion}
	f.Type, f.Name = splitResource(e.Resource)
	return f
}

func warned(w translate.Warning) Finding {
	f := Finding{Severity: Warning, Field: w.Path, Code: string(w.Code), Message: w.Reason, Suggestion: w.Suggestion}
	f.Type, f.Name = splitResource(w.Resource)
	return f
}

// splitResource takes `listener "ingress"` apart.
func splitResource(text string) (kind, name string) {
	kind, quoted, ok := strings.Cut(text, ` "`)
	if !ok {
		return text, ""
	}
	name, err := strconv.Unquote(`"` + quoted)
	if err != nil {
		return text, ""
	}
	return kind, name
}
