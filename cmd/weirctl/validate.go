package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/check"
)

const validateHelp = `usage: weirctl validate [OPTIONS] FILE|DIR ...
       weirctl validate --schema [TYPE]

Checks bootstrap configurations, as "weir --mode validate" does, and files of xDS resources, as "weirctl xds serve" takes
them; which of the two a file is follows from its content. It reads, starts nothing, needs no privileges and no network.

All files of a call are one set: references resolve across files, and each bootstrap is checked together with all resources.
FILE may be - for standard input, or another file that can be read only once, such as a pipe.
Files that a bootstrap names as sources of resources are read too. A directory stands for the .yaml, .yml, .json, .pb and
.pb_text files in it and below; what is neither a bootstrap nor resources is skipped there.

  --strict                        warnings count as errors
  --reject-unsupported            what weir would not act on is an error, as with weir's flag of that name
  --allow-unknown-static-fields   unknown fields are warnings
  --format text|json|github       how findings are written (default text); github is annotations for its CI
  --quiet                         no notes, and no lines about files that are fine
  --schema [TYPE]                 print a JSON Schema (draft 2020-12) of a bootstrap, or of TYPE, for editors: a message such as
                                  envoy.config.cluster.v3.Cluster, or "resources" for a file of resources

Findings are errors, warnings (without effect, or with another one than may be expected) and notes (info). In text, each is a
line FILE:LINE:COLUMN: [warning:|info:] RESOURCE: FIELD: MESSAGE (SUGGESTION) on standard error. In JSON, standard output is
{"findings": [...], "files": [{"file", "usable"}], "errors": N, "warnings": N} with, for each finding: severity (error, warning,
info), file, line, column, resource_type, resource_name, field (the path from the resource, or from the top of the file),
code, message, expected, suggestion. What is unknown or empty is left out. Codes: syntax, value, unknown-field, unknown-type,
duplicate-key, rule, invalid, unsupported, unknown-extension, unknown-reference, duplicate-name, address-clash, unused, file,
idle_runtime_key, notice.

Exit status: 0 no errors, 1 errors, 2 wrong usage.
`

// validateArguments are the parsed arguments of validate.
type validateArguments struct {
	options       options.Options
	strict, quiet bool
	format        string
	schema        bool
	paths         []string
}

func runValidate(_ context.Context, args []string, std stdio) int {
	a, help, err := parseValidate(args)
	switch {
	case help:
		fmt.Fprint(std.out, validateHelp)
		return exitOK
	case err != nil:
		return misuse(std, "validate", err, validateHelp)
	case a.schema:
		return printSchema(a.paths, std)
	}
	checker, err := agent.NewChecker(&a.options)
	if err != nil {
		fmt.Fprintf(std.err, "weirctl validate: %v\n", err)
		return exitError
	}
	streams, err := storeStreams(a.paths, std.in)
	defer streams.remove()
	if err != nil {
		fmt.Fprintf(std.err, "weirctl validate: %v\n", err)
		return exitError
	}
	r := report{}
	r.Findings = checker.Files(streams.paths, func(path string, usable bool) {
		r.Files = append(r.Files, fileReport{streams.name(path), usable})
	})
	streams.rename(r.Findings)
	r.count(a.strict)
	if a.quiet {
		r.Findings = slices.DeleteFunc(r.Findings, func(f check.Finding) bool { return f.Severity == check.Info })
	}
	if err := r.write(a, std); err != nil {
		fmt.Fprintf(std.err, "weirctl validate: %v\n", err)
		return exitError
	}
	if r.Errors > 0 {
		return exitError
	}
	return exitOK
}

func parseValidate(args []string) (a validateArguments, help bool, err error) {
	a.format = "text"
	for ; len(args) > 0; args = args[1:] {
		name, value, inline := strings.Cut(args[0], "=")
		switch name {
		case "--help", "-h":
			return a, true, nil
		case "--strict":
			a.strict = true
		case "--quiet", "-q":
			a.quiet = true
		case "--allow-unknown-static-fields", "--allow-unknown-fields":
			a.options.AllowUnknownStatic = true
		case "--reject-unsupported":
			a.options.RejectUnsupported = true
		case "--schema":
			a.schema = true
			if inline {
				a.paths = append(a.paths, value)
			}
		case "--format":
			if !inline && len(args) > 1 {
				value, args = args[1], args[1:]
			}
			if !slices.Contains([]string{"text", "json", "github"}, value) {
				return a, false, fmt.Errorf("--format: want text, json or github, got %q", value)
			}
			a.format = value
		default:
			if strings.HasPrefix(name, "-") && name != "-" {
				return a, false, unknownOption(name, validateHelp)
			}
			a.paths = append(a.paths, args[0])
		}
	}
	switch {
	case a.schema && len(a.paths) > 1:
		return a, false, fmt.Errorf("--schema takes one TYPE")
	case !a.schema && len(a.paths) == 0:
		return a, false, fmt.Errorf("there is no file to check")
	}
	return a, false, nil
}

// report is what is written; its JSON form is documented in the help and stays.
type report struct {
	Findings check.Findings `json:"findings"`
	Files    []fileReport   `json:"files"`
	Errors   int            `json:"errors"`
	Warnings int            `json:"warnings"`
}

// fileReport says of a file whether it can be used as it is.
type fileReport struct {
	File   string `json:"file"`
	Usable bool   `json:"usable"`
}

// count counts the findings; with strict, warnings become errors.
func (r *report) count(strict bool) {
	for i := range r.Findings {
		f := &r.Findings[i]
		if strict && f.Severity == check.Warning {
			f.Severity = check.Error
			for j := range r.Files {
				r.Files[j].Usable = r.Files[j].Usable && r.Files[j].File != f.File
			}
		}
		switch f.Severity {
		case check.Error:
			r.Errors++
		case check.Warning:
			r.Warnings++
		}
	}
}

func (r *report) write(a validateArguments, std stdio) error {
	switch a.format {
	case "json":
		if r.Findings == nil {
			r.Findings = check.Findings{}
		}
		if r.Files == nil {
			r.Files = []fileReport{}
		}
		e := json.NewEncoder(std.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return fmt.Errorf("write findings: %w", err)
		}
		return nil
	case "github":
		r.annotations(std.out)
		return nil
	}
	for _, f := range r.Findings {
		fmt.Fprintln(std.err, textLine(f))
	}
	for _, f := range r.Files {
		switch {
		case !f.Usable:
			fmt.Fprintf(std.out, "%s: not usable\n", f.File)
		case !a.quiet:
			fmt.Fprintf(std.out, "%s: OK\n", f.File)
		}
	}
	return nil
}

// textLine is a finding with its severity, unless it is an error, after its place.
func textLine(f check.Finding) string {
	if f.Severity == check.Error {
		return f.String()
	}
	bare := f
	bare.File, bare.Line, bare.Column = "", 0, 0
	place := check.Finding{File: f.File, Line: f.Line, Column: f.Column}.String()
	return strings.TrimPrefix(fmt.Sprintf("%s: %s: %s", place, f.Severity, bare), ": ")
}

// annotations writes workflow commands of GitHub Actions.
func (r *report) annotations(w io.Writer) {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for _, f := range r.Findings {
		level := map[check.Severity]string{check.Error: "error", check.Warning: "warning", check.Info: "notice"}[f.Severity]
		bare := f
		bare.File, bare.Line, bare.Column = "", 0, 0
		fmt.Fprintf(w, "::%s file=%s,line=%d,col=%d,title=%s::%s\n",
			level, property.Replace(f.File), max(f.Line, 1), max(f.Column, 1), property.Replace("weir: "+f.Code), data.Replace(bare.String()))
	}
}
