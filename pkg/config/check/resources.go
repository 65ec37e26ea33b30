package check

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
)

// resource is one resource of a file.
type resource struct {
	file       string
	positions  *protoyaml.Positions
	message    proto.Message
	kind, name string
	broken     bool
}

func (r *resource) text() string { return Finding{Type: r.kind, Name: r.name}.resource() }

// resources are those of all files of resources. A nil one holds nothing.
type resources struct {
	checker  *Checker
	list     []*resource
	byText   map[string]*resource
	files    map[string]bool
	group    translate.Group
	findings Findings
	// hosts are the virtual hosts of VHDS, which are translated once their route configurations are known.
	hosts []*resource
	// scopes are those of a file and key.
	scopes map[scopeKey]*resource
}

// scopeKey is a key of a scope in a file: what two files hold may come from two control planes.
type scopeKey struct{ file, key string }

func newResources(c *Checker) *resources {
	return &resources{
		checker: c, byText: map[string]*resource{}, files: map[string]bool{}, scopes: map[scopeKey]*resource{},
		group: translate.Group{
			Listeners: map[string]*model.Listener{}, Clusters: map[string]*model.Cluster{}, Routes: map[string]*model.RouteConfig{},
			Endpoints: map[string]*model.LoadAssignment{}, Secrets: map[string]*model.Secret{}, Filters: map[string]*model.FilterConfig{},
			Scopes: map[string]*model.Scope{}, Hosts: map[string]*model.VirtualHost{},
			Faulty: map[string]*model.Listener{}, Collections: map[string]bool{}, Layers: map[string]bool{},
			Broken: map[string]bool{}, StaticClusters: map[string]bool{},
		},
	}
}

// find returns the resource that a finding names, nil when it is of no file.
func (s *resources) find(text string) *resource {
	if s == nil {
		return nil
	}
	return s.byText[text]
}

// read takes the resources of a file into the set; a file is read once.
func (s *resources) read(path string) {
	if s.files[filepath.Clean(path)] {
		return
	}
	s.files[filepath.Clean(path)] = true
	src, err := os.ReadFile(path)
	if err != nil {
		s.findings = append(s.findings, Finding{Severity: Error, File: path, Code: CodeFile, Message: err.Error()})
		return
	}
	list, warnings, err := protoyaml.DecodeResources(src, path, protoyaml.Options{
		Resolver: s.checker.Load.Resolver, AllowUnknown: s.checker.Load.AllowUnknownStatic, KeepBroken: true,
	})
	for _, w := range warnings {
		s.findings = append(s.findings, decoded(Warning, w))
	}
	told := map[protoyaml.Error]bool{}
	for _, one := range list {
		r := &resource{file: path, positions: one.Positions, message: one.Message, broken: len(one.Errors) > 0}
		r.kind, r.name = identify(one.Message, one.Wrapper.GetName())
		for _, e := range one.Errors {
			told[e] = true
			f := decoded(Error, e)
			f.Type, f.Name = r.kind, r.name
			f.Field = strings.TrimPrefix(strings.TrimPrefix(f.Field, one.Path), ".")
			if one.Wrapper != nil {
				f.Field = strings.TrimPrefix(strings.TrimPrefix(f.Field, "resource"), ".")
			}
			s.findings = append(s.findings, f)
		}
		s.add(r)
	}
	var errs protoyaml.Errors
	errors.As(err, &errs)
	for _, e := range errs {
		if !told[e] {
			s.findings = append(s.findings, decoded(Error, e))
		}
	}
}

// add takes one resource into the set and translates it.
func (s *resources) add(r *resource) {
	s.list = append(s.list, r)
	if first := s.byText[r.text()]; first != nil && r.name != "" {
		f := twice(r, first)
		f.Severity, f.Code, f.Type, f.Name, f.Field = Error, string(translate.CodeDuplicate), r.kind, r.name, nameField(r.kind)
		s.findings = append(s.findings, place(f, r.file, r.positions, ""))
		return
	}
	s.byText[r.text()] = r
	if _, known := s.checker.Translator.Table()[proto.MessageName(r.message)]; !known {
		f := Finding{Severity: Warning, Type: r.kind, Name: r.name, Code: string(translate.CodeUnsupported)}
		f.Message = fmt.Sprintf("weir does not take resources of type %s", proto.MessageName(r.message))
		s.findings = append(s.findings, place(f, r.file, r.positions, ""))
	}
	if problem := misnamed(r); problem != "" {
		s.refuse(r, "", string(translate.CodeInvalid), problem)
	}
	switch r.message.(type) {
	case *routev3.VirtualHost:
		s.hosts = append(s.hosts, r)
	default:
		s.settle(r)
	}
}

// refuse adds an error of a resource, which nobody is told to be missing then.
func (s *resources) refuse(r *resource, field, code, message string) {
	s.group.Broken[r.text()] = true
	r.broken = true
	f := Finding{Severity: Error, Type: r.kind, Name: r.name, Field: field, Code: code, Message: message}
	s.findings = append(s.findings, place(f, r.file, r.positions, ""))
}

// settle translates a resource, with what is found of it.
func (s *resources) settle(r *resource) {
	if r.broken {
		s.group.Broken[r.text()] = true
		return
	}
	warnings, err := s.translate(r)
	for _, e := range translate.FieldErrors(err) {
		s.refuse(r, e.Path, string(e.Code), e.Reason)
		s.findings[len(s.findings)-1].Suggestion = e.Suggestion
	}
	for _, w := range warnings {
		f := warned(w)
		f.Type, f.Name = r.kind, r.name
		s.findings = append(s.findings, place(f, r.file, r.positions, ""))
	}
}

// settleHosts translates the virtual hosts of VHDS.
func (s *resources) settleHosts() {
	for _, r := range s.hosts {
		s.settle(r)
	}
	s.hosts = nil
}

// follow reads the files that the configuration names as sources, and those that these name.
func (s *resources) follow(boots []*boot) {
	for {
		var next []string
		for _, source := range s.sources(boots) {
			if source != nil && source.Kind == model.SourcePath && !s.files[filepath.Clean(source.Path)] {
				next = append(next, source.Path)
			}
		}
		if len(next) == 0 {
			return
		}
		slices.Sort(next)
		for _, path := range slices.Compact(next) {
			if _, err := os.Stat(path); err != nil {
				s.files[filepath.Clean(path)] = true
				s.findings = append(s.findings, Finding{
					Severity: Warning, File: path, Code: CodeFile, Message: fmt.Sprintf("named as a source of resources, but cannot be read here: %v", errors.Unwrap(err)),
				})
				continue
			}
			s.read(path)
		}
	}
}

func filterSources(refs []model.FilterReference) []*model.Source {
	out := make([]*model.Source, len(refs))
	for i, r := range refs {
		out[i] = r.Discovery.Source
	}
	return out
}

// sources are all places that resources come from.
func (s *resources) sources(boots []*boot) []*model.Source {
	var out []*model.Source
	groups := []*translate.Group{&s.group}
	for _, b := range boots {
		if b.static != nil {
			out = append(out, b.static.LDS, b.static.CDS)
			groups = append(groups, b.static.Group())
			for _, l := range b.static.Runtime {
				if l.RTDS != nil {
					out = append(out, l.RTDS.Source)
				}
			}
		}
	}
	for _, g := range groups {
		for _, f := range g.Filters {
			for _, r := range f.RouteReferences() {
				out = append(out, r.Source)
			}
			out = append(out, filterSources(f.FilterReferences())...)
		}
		for _, l := range g.Listeners {
			for _, r := range l.RouteReferences() {
				out = append(out, r.Source)
			}
			out = append(out, filterSources(l.FilterReferences())...)
			for _, r := range l.SecretReferences() {
				out = append(out, r.Source)
			}
			for _, r := range l.ScopeReferences() {
				out = append(out, r.Source, r.Routes)
			}
		}
		for _, c := range g.Clusters {
			out = append(out, c.EDSSource)
			out = append(out, filterSources(c.FilterReferences())...)
			for _, r := range c.SecretReferences() {
				out = append(out, r.Source)
			}
		}
	}
	return out
}
