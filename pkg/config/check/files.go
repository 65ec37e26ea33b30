package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// Files checks files, and the configuration files below directories, as one set: bootstraps, each with all the resources
// of the files of resources, and these among each other. What a file holds is found out by its content. File tells of each
// file that was looked at whether it is usable; it may be nil.
func (c *Checker) Files(paths []string, file func(path string, usable bool)) Findings {
	set := newResources(c)
	var boots []*boot
	names, all := expand(paths)
	var looked []string
	for _, one := range names {
		switch kind, f := sniff(one); kind {
		case isBootstrap:
			load := c.Load
			load.Path, load.InlineYAML = one.path, ""
			boots = append(boots, c.bootstrap(load))
		case isResources:
			set.read(one.path)
		default:
			all = append(all, f)
			if f.Severity != Error {
				continue
			}
		}
		looked = append(looked, one.path)
	}
	set.follow(boots)
	set.settleHosts()
	if len(boots) == 0 {
		set.alone()
	}
	for _, b := range boots {
		b.references(set)
		b.unused(set)
		all = append(all, b.findings...)
	}
	all = append(all, set.findings...).sorted()
	if file != nil {
		for _, path := range looked {
			file(path, !slices.ContainsFunc(all, func(f Finding) bool { return f.File == path && f.Severity == Error }))
		}
	}
	return all
}

// input is a file to check; found tells that it was not named, but found in a directory.
type input struct {
	path  string
	found bool
}

// endings are the files of a directory that are looked at.
var endings = map[string]bool{".yaml": true, ".yml": true, ".json": true, ".pb": true, ".pb_text": true}

// expand replaces directories by the files below them, in order, without hidden ones. Links to directories are only followed
// where they are named. It tells of what cannot be looked at.
func expand(paths []string) (out []input, problems Findings) {
	report := func(path, message string) {
		problems = append(problems, Finding{Severity: Error, File: path, Code: CodeFile, Message: message})
	}
	for _, root := range paths {
		info, err := os.Stat(root)
		switch {
		case err != nil:
			report(root, err.Error())
			continue
		case !info.IsDir():
			if problem := unfit(root); problem != "" {
				report(root, problem)
			} else {
				out = append(out, input{path: root})
			}
			continue
		}
		before := len(out) + len(problems)
		// The separator has a link to a directory followed.
		_ = filepath.WalkDir(root+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
			path = filepath.Clean(path)
			switch hidden := path != filepath.Clean(root) && strings.HasPrefix(filepath.Base(path), "."); {
			case err != nil:
				report(path, err.Error())
			case hidden && d.IsDir():
				return fs.SkipDir
			case hidden || d.IsDir() || !endings[filepath.Ext(path)]:
			default:
				if problem := unfit(path); problem == isDirectory {
					return nil
				} else if problem != "" {
					report(path, problem)
				} else {
					out = append(out, input{path: path, found: true})
				}
			}
			return nil
		})
		if len(out)+len(problems) == before {
			report(root, "the directory holds no .yaml, .yml, .json, .pb or .pb_text file")
		}
	}
	return out, problems
}

// isDirectory is what unfit says of directories.
const isDirectory = "is a directory"

// unfit tells why a file cannot be read as a whole, more than once; empty when it can.
func unfit(path string) string {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err.Error()
	case info.IsDir():
		return isDirectory
	case !info.Mode().IsRegular():
		return "is not a regular file: write what it holds to one"
	}
	return ""
}

// kind is what a file holds.
type kind int

const (
	isOther kind = iota
	isBootstrap
	isResources
)

// sniff finds out what a file holds. For one that is neither, it returns what is to say about that.
func sniff(in input) (kind, Finding) {
	switch filepath.Ext(in.path) {
	case ".pb", ".pb_text":
		return isBootstrap, Finding{}
	}
	src, err := os.ReadFile(in.path)
	if err != nil {
		return isOther, Finding{Severity: Error, File: in.path, Code: CodeFile, Message: err.Error()}
	}
	keys, list, err := protoyaml.TopLevel(src, in.path)
	var syntax protoyaml.Errors
	switch {
	case errors.As(err, &syntax):
		return isOther, decoded(Error, syntax[0])
	case list || slices.Contains(keys, "@type") || slices.Contains(keys, "resources"):
		return isResources, Finding{}
	case in.found && !likeBootstrap(keys):
		return isOther, Finding{Severity: Info, File: in.path, Code: CodeFile, Message: "skipped: neither a bootstrap nor a file of resources"}
	}
	return isBootstrap, Finding{}
}

// likeBootstrap tells whether one of the keys is, nearly, one of a bootstrap.
func likeBootstrap(keys []string) bool {
	if len(keys) == 0 || slices.Contains(keys, "apiVersion") && slices.Contains(keys, "kind") {
		return false
	}
	fields := (&bootstrapv3.Bootstrap{}).ProtoReflect().Descriptor().Fields()
	var known []string
	for i := range fields.Len() {
		known = append(known, string(fields.Get(i).Name()), fields.Get(i).JSONName())
	}
	return slices.ContainsFunc(keys, func(k string) bool { return extension.Nearest(k, slices.Values(known)) != "" })
}

// twice says that a resource has the name of another.
func twice(r, first *resource) Finding {
	at, _ := first.positions.Find("")
	return Finding{Message: fmt.Sprintf("duplicate %s: the first one is at %s:%d", r.text(), first.file, at.Line)}
}
