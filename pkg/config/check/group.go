package check

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
)

// join adds the resources of files to those of a bootstrap, which win where both have a name, as in Envoy.
func (s *resources) join(g *translate.Group) {
	if s == nil || len(s.list) == 0 {
		return
	}
	g.Routes, g.Endpoints, g.Filters = s.group.Routes, s.group.Endpoints, s.group.Filters
	g.Scopes, g.Hosts, g.Collections, g.Layers = s.group.Scopes, s.group.Hosts, s.group.Collections, s.group.Layers
	g.Listeners = over(s.group.Listeners, g.Listeners)
	g.Clusters = over(s.group.Clusters, g.Clusters)
	g.Secrets = over(s.group.Secrets, g.Secrets)
	maps.Copy(g.Broken, s.group.Broken)
	g.Faulty = over(s.group.Faulty, g.Faulty)
	g.Complete = true
	g.DynamicClusters = g.DynamicClusters && !s.holds("cluster")
	g.DynamicListeners = g.DynamicListeners && !s.holds("listener")
}

// over is a map with what both have, taken from more where it is in both.
func over[M any](base, more map[string]M) map[string]M {
	out := maps.Clone(base)
	maps.Copy(out, more)
	return out
}

// holds tells whether there is a resource of a kind.
func (s *resources) holds(kind string) bool {
	return s != nil && slices.ContainsFunc(s.list, func(r *resource) bool { return r.kind == kind })
}

// alone checks the resources of files without a bootstrap. Its static clusters, through which control planes are reached,
// are not known.
func (s *resources) alone() {
	b := &boot{static: &translate.Static{}}
	g := b.static.Group()
	s.join(g)
	g.DynamicClusters = !s.holds("cluster")
	g.StaticClusters = nil
	warnings, err := g.References()
	for _, e := range translate.FieldErrors(err) {
		if f := failed(e); !strings.HasSuffix(f.Field, "cluster_name") { // of a management server
			b.settle(s, f)
		}
	}
	for _, w := range warnings {
		b.settle(s, warned(w))
	}
	b.unused(s)
	s.findings = append(s.findings, b.findings...)
}

// unused tells of the clusters that nothing names. Nothing can be said when listeners come from elsewhere, or when a
// request may name any cluster.
func (b *boot) unused(set *resources) {
	if b.static == nil {
		return
	}
	g := b.static.Group()
	set.join(g)
	b.unasked(set, g)
	if len(g.Listeners) == 0 || b.static.LDS != nil && !set.holds("listener") {
		return
	}
	used := names{}
	if b.message != nil {
		used.collect(b.message.ProtoReflect(), 0)
	}
	if set != nil {
		for _, r := range set.list {
			used.collect(r.message.ProtoReflect(), 0)
		}
	}
	if used[""] {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(g.Clusters)) {
		if !used[name] && g.Clusters[name].Type != model.ClusterOriginalDst {
			b.settle(set, Finding{Severity: Info, Type: "cluster", Name: name, Code: CodeUnused, Message: "nothing refers to the cluster"})
		}
	}
}

// unasked tells of what is delivered one by one and nothing asks for.
func (b *boot) unasked(set *resources, g *translate.Group) {
	if set == nil {
		return
	}
	asked := map[string]bool{}
	for _, a := range g.Endpoints {
		for _, l := range a.Localities {
			if l.LEDS != nil {
				asked[l.LEDS.Collection] = true
			}
		}
	}
	for _, l := range g.Runtime {
		if l.RTDS != nil {
			asked[l.RTDS.Resource] = true
		}
	}
	for _, l := range g.Listeners {
		asked[scopeKind] = asked[scopeKind] || len(l.ScopeReferences()) > 0
	}
	for _, r := range set.list {
		name, message := r.name, ""
		switch {
		case misnamed(r) != "":
		case r.kind == endpointKind && set.holds("load assignment"):
			name, _ = translate.CollectionOf(r.name)
			message = "no load assignment names the collection " + name
		case r.kind == layerKind && b.message != nil:
			message = "no layer of the bootstrap names it"
		case r.kind == scopeKind && len(g.Listeners) > 0:
			name, message = scopeKind, "no connection manager asks for scopes"
		}
		if message != "" && !asked[name] {
			asked[name] = true
			b.settle(set, Finding{Severity: Info, Type: r.kind, Name: r.name, Code: CodeUnused, Message: message})
		}
	}
}

// names are all texts that a configuration holds; the empty one is there when requests may name any cluster.
type names map[string]bool

// maxNesting bounds the messages within messages that are looked at.
const maxNesting = 200

// collect adds the texts in m, but not the names that clusters give themselves.
func (n names) collect(m protoreflect.Message, depth int) {
	if depth > maxNesting {
		return
	}
	if a, ok := m.Interface().(*anypb.Any); ok {
		if inner, err := protoyaml.UnwrapTypedStruct(a, protoyaml.Options{AllowUnknown: true}); err == nil {
			n.collect(inner.ProtoReflect(), depth+1)
		}
		return
	}
	own := protoreflect.Name("")
	switch m.Descriptor().FullName() {
	case "envoy.config.cluster.v3.Cluster":
		own = "name"
	case "envoy.config.endpoint.v3.ClusterLoadAssignment":
		own = "cluster_name"
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Name() == own:
		case fd.Name() == "cluster_header", fd.Name() == "cluster_specifier_plugin", fd.Name() == "inline_cluster_specifier_plugin":
			n[""] = true
		case fd.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				n[k.String()] = true
				n.value(fd.MapValue(), v, depth)
				return true
			})
		case fd.IsList():
			for i := range v.List().Len() {
				n.value(fd, v.List().Get(i), depth)
			}
		default:
			n.value(fd, v, depth)
		}
		return true
	})
}

func (n names) value(fd protoreflect.FieldDescriptor, v protoreflect.Value, depth int) {
	switch {
	case fd.Message() != nil:
		n.collect(v.Message(), depth+1)
	case fd.Kind() == protoreflect.StringKind:
		n[v.String()] = true
	}
}
