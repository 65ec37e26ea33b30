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
	var all Findings
	names, err := expand(paths)
	if err != nil {
		return Findings{{Severity: Error, Code: CodeFile, Message: err.Error()}}
	}
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

// expand replaces directories by the files below them, in order, without hidden ones.
func expand(paths []string) ([]input, error) {
	var out []input
	for _, root := range paths {
		info, err := os.Stat(root)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, input{path: root})
			continue
		}
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case path != root && strings.HasPrefix(d.Name(), "."):
				if d.IsDir() {
					return fs.SkipDir
				}
			case !d.IsDir() && endings[filepath.Ext(path)]:
				out = append(out, input{path: path, found: true})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
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
