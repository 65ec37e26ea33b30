package check

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
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
}

func newResources(c *Checker) *resources {
	return &resources{
		checker: c, byText: map[string]*resource{}, files: map[string]bool{},
		group: translate.Group{
			Listeners: map[string]*model.Listener{}, Clusters: map[string]*model.Cluster{}, Routes: map[string]*model.RouteConfig{},
			Endpoints: map[string]*model.LoadAssignment{}, Secrets: map[string]*model.Secret{}, Filters: map[string]*model.FilterConfig{},
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
		r.kind, r.name = identify(one.Message)
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
	if r.broken {
		s.group.Broken[r.text()] = true
		return
	}
	warnings, err := s.translate(r)
	for _, e := range translate.FieldErrors(err) {
		s.group.Broken[r.text()] = true
		s.findings = append(s.findings, place(failed(e), r.file, r.positions, ""))
	}
	for _, w := range warnings {
		s.findings = append(s.findings, place(warned(w), r.file, r.positions, ""))
	}
}

// nameField is where a resource of a kind has its name.
func nameField(kind string) string {
	if kind == "load assignment" {
		return "cluster_name"
	}
	return "name"
}

// translate translates a resource into the group. Types that nothing translates have been decoded, and that is all.
func (s *resources) translate(r *resource) (warnings []translate.Warning, err error) {
	t, meta, g := s.checker.Translator, translate.Meta{Dynamic: true}, &s.group
	switch m := r.message.(type) {
	case *listenerv3.Listener:
		return keep(g.Listeners, r.name)(t.Listener(m, meta))
	case *clusterv3.Cluster:
		return keep(g.Clusters, r.name)(t.Cluster(m, meta))
	case *routev3.RouteConfiguration:
		return keep(g.Routes, r.name)(t.RouteConfig(m, meta))
	case *endpointv3.ClusterLoadAssignment:
		return keep(g.Endpoints, r.name)(t.LoadAssignment(m, meta))
	case *secretv3.Secret:
		return keep(g.Secrets, r.name)(t.Secret(m, meta))
	case *corev3.TypedExtensionConfig:
		return keep(g.Filters, r.name)(t.FilterConfig(m, meta))
	}
	return nil, nil
}

// keep returns a function that puts what was translated under a name.
func keep[M any](into map[string]M, name string) func(M, []translate.Warning, error) ([]translate.Warning, error) {
	return func(m M, warnings []translate.Warning, err error) ([]translate.Warning, error) {
		if err == nil {
			into[name] = m
		}
		return warnings, err
	}
}

// identify returns the kind and name of a resource, as translate calls it.
func identify(m proto.Message) (kind, name string) {
	switch m := m.(type) {
	case *listenerv3.Listener:
		return "listener", translate.ListenerName(m)
	case *clusterv3.Cluster:
		return "cluster", m.GetName()
	case *routev3.RouteConfiguration:
		return "route configuration", m.GetName()
	case *endpointv3.ClusterLoadAssignment:
		return "load assignment", m.GetClusterName()
	case *secretv3.Secret:
		return "secret", m.GetName()
	case *corev3.TypedExtensionConfig:
		return "filter configuration", m.GetName()
	case interface{ GetName() string }:
		return string(proto.MessageName(m.(proto.Message)).Name()), m.GetName()
	}
	return string(proto.MessageName(m).Name()), ""
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

// sources are all places that resources come from.
func (s *resources) sources(boots []*boot) []*model.Source {
	var out []*model.Source
	groups := []*translate.Group{&s.group}
	for _, b := range boots {
		if b.static != nil {
			out = append(out, b.static.LDS, b.static.CDS)
			groups = append(groups, b.static.Group())
		}
	}
	for _, g := range groups {
		for _, l := range g.Listeners {
			for _, r := range l.RouteReferences() {
				out = append(out, r.Source)
			}
			for _, r := range l.SecretReferences() {
				out = append(out, r.Source)
			}
		}
		for _, c := range g.Clusters {
			out = append(out, c.EDSSource)
			for _, r := range c.SecretReferences() {
				out = append(out, r.Source)
			}
		}
	}
	return out
}
