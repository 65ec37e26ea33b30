package protoyaml

import (
	"fmt"
	"sort"
	"strings"
)

// Error is one problem of a configuration.
type Error struct {
	// File is the name given to Decode, empty when there is none.
	File string
	// Line and Column count from 1; 0 means unknown. Columns count characters.
	Line, Column int
	// Path leads from the root message to the field, in proto names, such as
	// static_resources.listeners[0].name. Empty means the root.
	Path string
	// Reason says what is wrong.
	Reason string
	// Suggestion says what may have been meant; empty when nothing is likely.
	Suggestion string
	// Code is the kind of problem, one of the constants of this package.
	Code Code
}

// Code is a kind of problem, for programs.
type Code string

// Kinds of problems.
const (
	// CodeSyntax is text that is not YAML, JSON or a protobuf message.
	CodeSyntax Code = "syntax"
	// CodeValue is a value that its field cannot take.
	CodeValue Code = "value"
	// CodeUnknownField is a key that names no field.
	CodeUnknownField Code = "unknown-field"
	// CodeUnknownType is a type URL that names no known message.
	CodeUnknownType Code = "unknown-type"
	// CodeDuplicate is a key that is there twice.
	CodeDuplicate Code = "duplicate-key"
	// CodeRule is a value that violates a rule of protoc-gen-validate.
	CodeRule Code = "rule"
)

// Expected says what should have been there, where Reason tells; otherwise it
// is empty.
func (e Error) Expected() string {
	rest, ok := strings.CutPrefix(e.Reason, "expected ")
	if !ok {
		return ""
	}
	expected, _, _ := strings.Cut(rest, ", got ")
	return expected
}

// Error formats the problem as file:line:column: path: reason (suggestion),
// without the parts that are unknown.
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		if b.Len() == 0 {
			b.WriteString("line ")
		} else {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	for _, part := range []string{e.Path, e.Reason} {
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(part)
	}
	if e.Suggestion != "" {
		fmt.Fprintf(&b, " (%s)", e.Suggestion)
	}
	return b.String()
}

// Errors is every problem of a configuration, sorted by position.
type Errors []Error

// Error lists the problems, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find each Error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// sink collects errors and warnings.
type sink struct {
	file     string
	errs     []Error
	warnings []Error
	dropped  int
	// spoiled holds the paths of fields that have a value which could not be
	// decoded: a validation rule that misses the value would only repeat it.
	spoiled map[string]struct{}
}

func (s *sink) fail(e Error) {
	e.File = s.file
	if e.Code == "" {
		e.Code = CodeValue
	}
	if len(s.errs) >= maxErrors {
		s.dropped++
		return
	}
	s.errs = append(s.errs, e)
}

func (s *sink) warn(e Error) {
	e.File = s.file
	if e.Code == "" {
		e.Code = CodeUnknownField
	}
	if len(s.warnings) < maxErrors {
		s.warnings = append(s.warnings, e)
	}
}

// spoil marks path as tried but not decoded.
func (s *sink) spoil(path string) {
	if s.spoiled == nil {
		s.spoiled = make(map[string]struct{})
	}
	if len(s.spoiled) < maxErrors {
		s.spoiled[path] = struct{}{}
	}
}

// isSpoiled reports whether the field at path, an element of it, or the message
// that holds it was tried but not decoded.
func (s *sink) isSpoiled(path string) bool {
	if s.isTried(path) {
		return true
	}
	for p := range s.spoiled {
		rest, ok := strings.CutPrefix(p, path)
		if ok && strings.HasPrefix(rest, "[") && !strings.Contains(rest, "].") {
			return true
		}
	}
	return false
}

// isTried reports whether path, or a message on the way to it, was tried but
// not decoded as a whole.
func (s *sink) isTried(path string) bool {
	for i := range len(path) + 1 {
		if i > 0 && i < len(path) && path[i] != '.' && path[i] != '[' {
			continue
		}
		if _, ok := s.spoiled[path[:i]]; ok {
			return true
		}
	}
	return false
}

// result returns what was collected as Errors, or nil.
func (s *sink) result() error {
	sortErrors(s.warnings)
	if len(s.errs) == 0 {
		return nil
	}
	sortErrors(s.errs)
	all := Errors(s.errs)
	if s.dropped > 0 {
		all = append(all, Error{File: s.file, Reason: fmt.Sprintf("%d more errors are not listed", s.dropped)})
	}
	return all
}

func sortErrors(errs []Error) {
	sort.SliceStable(errs, func(i, j int) bool {
		if errs[i].Line != errs[j].Line {
			return errs[i].Line < errs[j].Line
		}
		return errs[i].Column < errs[j].Column
	})
}
