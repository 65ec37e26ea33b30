package model_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

const (
	modelPath     = "github.com/weir-proxy/weir/pkg/config/model"
	translatePath = "github.com/weir-proxy/weir/pkg/config/translate"
)

// unread lists the fields that only the translator reads or that nothing reads, with the reason why that breaks no promise.
func unread() map[string]string {
	const (
		identity   = "says what the decoded Config is; the type of Config decides"
		subsets    = "what subset balancers will read; setting them has a warning"
		overrides  = "compared by the translator, which reports overrides that are for another filter"
		references = "what the translator goes by when it reports references to unknown clusters"
	)
	return map[string]string{
		"AccessLog.TypeURL": identity, "NetworkFilter.TypeURL": identity,
		"HTTPFilter.TypeURL": overrides, "FilterOverride.TypeURL": overrides,
		"RouteConfig.ValidateClusters": references, "UDPProxy.Routes": references,
		"WeightedCluster.Metadata": subsets,
		"Secret.Generic":           "for filters that read generic secrets; there is none yet",
		"DownstreamTLS.Hash":       "contained in FilterChain.Hash, which decides whether a chain changed",
		"Static.Extensions":        "holds the interception, which Static.Interception repeats; all others are refused",
	}
}

// ofBootstrap are the structs of package translate that are configuration too.
func ofBootstrap() []string {
	return []string{"Static", "Admin", "StatsConfig", "StatsTag", "StatsBuckets"}
}

// TestEveryFieldIsRead checks that each field of the model, and of what a bootstrap holds beside it, is read by something other than the translator that fills it
// in. A field that nobody reads is configuration without effect that nobody is told about.
func TestEveryFieldIsRead(t *testing.T) {
	tree := loadTree(t)
	read := map[string]bool{}
	for _, p := range tree.packages {
		if p.ImportPath != translatePath {
			tree.reads(t, p, read)
		}
	}
	allowed := unread()
	for _, name := range append(tree.fields(t, modelPath, nil), tree.fields(t, translatePath, ofBootstrap())...) {
		_, listed := allowed[name]
		delete(allowed, name)
		switch {
		case read[name] && listed:
			t.Errorf("%s is read now: take it off the list", name)
		case !read[name] && !listed:
			t.Errorf("%s is read by nothing: implement it, or let its configuration be reported", name)
		}
	}
	for name := range allowed {
		t.Errorf("%s is on the list, but not in the model", name)
	}
}

// listed is a package as `go list` describes it.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	Module                  *struct{ Main bool }
}

// tree is the packages of this module, with what is needed to check their types.
type tree struct {
	packages []listed
	set      *token.FileSet
	imports  types.Importer
}

func loadTree(t *testing.T) *tree {
	t.Helper()
	// A profile would make variants of packages, under paths of their own, and that of the translator count as a reader.
	cmd := exec.CommandContext(t.Context(), "go", "list", "-pgo=off", "-e", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Module", "./pkg/...", "./cmd/...")
	cmd.Dir = "../../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &tree{set: token.NewFileSet()}
	exports := map[string]string{}
	for d := json.NewDecoder(out); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if p.Module != nil && p.Module.Main {
			r.packages = append(r.packages, p)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("list the packages: %v", err)
	}
	r.imports = importer.ForCompiler(r.set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return r
}

// reads adds the fields of the model that p's files read, as Struct.Field.
func (r *tree) reads(t *testing.T, p listed, read map[string]bool) {
	t.Helper()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(r.set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
	// A package that does not compile fails tests of its own.
	_, _ = (&types.Config{Importer: r.imports, Error: func(error) {}}).Check(p.ImportPath, r.set, files, info)
	written := assigned(files)
	for at, s := range info.Selections {
		if s.Kind() == types.FieldVal {
			addFields(s, written[at], read)
		}
	}
}

// assigned are the selectors that stand on the left of an assignment.
func assigned(files []*ast.File) map[*ast.SelectorExpr]bool {
	out := map[*ast.SelectorExpr]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if a, ok := n.(*ast.AssignStmt); ok {
				for _, l := range a.Lhs {
					if s, ok := l.(*ast.SelectorExpr); ok {
						out[s] = true
					}
				}
			}
			return true
		})
	}
	return out
}

// addFields adds the fields of the model that a selector passes through, the last one only when it is not written.
func addFields(s *types.Selection, written bool, read map[string]bool) {
	at := s.Recv()
	for step, i := range s.Index() {
		if p, ok := at.Underlying().(*types.Pointer); ok {
			at = p.Elem()
		}
		field := at.Underlying().(*types.Struct).Field(i)
		n, ok := types.Unalias(at).(*types.Named)
		if ok && n.Obj().Pkg() != nil && (n.Obj().Pkg().Path() == modelPath || n.Obj().Pkg().Path() == translatePath) && !(written && step == len(s.Index())-1) {
			read[n.Obj().Name()+"."+field.Name()] = true
		}
		at = field.Type()
	}
}

// fields lists the exported fields of the structs of a package, embedded ones excepted. only, when not nil, names the
// structs.
func (r *tree) fields(t *testing.T, path string, only []string) []string {
	t.Helper()
	p, err := r.imports.Import(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range p.Scope().Names() {
		s, ok := p.Scope().Lookup(name).Type().Underlying().(*types.Struct)
		if !ok || name == "Resource" || only != nil && !slices.Contains(only, name) { // Resource is identity and history
			continue
		}
		for f := range s.Fields() {
			if f.Exported() && !f.Embedded() {
				names = append(names, name+"."+f.Name())
			}
		}
	}
	if len(names) < 20 {
		t.Fatalf("only %d fields were found in %s", len(names), path)
	}
	return names
}
