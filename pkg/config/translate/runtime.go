package translate

import (
	"maps"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/runtime"
)

// runtime translates the layers of the runtime.
func (c *call) runtime(m *bootstrapv3.LayeredRuntime, out *Static) {
	if m == nil {
		out.Runtime = []runtime.Layer{{Name: "base"}, {Name: "admin", Admin: true}}
		return
	}
	var root *path
	seen, admins := map[string]bool{}, 0
	for i, l := range m.GetLayers() {
		at := root.field("layered_runtime").elem("layers", i)
		if seen[l.GetName()] {
			c.fail(at.field("name"), "duplicate layer name: %s", l.GetName())
		}
		seen[l.GetName()] = true
		layer := c.runtimeLayer(l, at)
		if layer.Admin {
			if admins++; admins > 1 {
				c.fail(at.field("admin_layer"), "too many admin layers specified in layered_runtime, at most one may be specified")
			}
		}
		out.Runtime = append(out.Runtime, layer)
	}
}

func (c *call) runtimeLayer(l *bootstrapv3.RuntimeLayer, at *path) runtime.Layer {
	out := runtime.Layer{Name: l.GetName()}
	switch k := l.GetLayerSpecifier().(type) {
	case *bootstrapv3.RuntimeLayer_StaticLayer:
		values, err := runtime.Flatten(k.StaticLayer)
		if err != nil {
			c.fail(at.field("static_layer"), "%v", err)
		}
		out.Values = values
	case *bootstrapv3.RuntimeLayer_DiskLayer_:
		d := k.DiskLayer
		if d.GetSymlinkRoot() == "" {
			c.fail(at.field("disk_layer").field("symlink_root"), "must not be empty")
		}
		out.Disk = &runtime.Disk{
			SymlinkRoot: d.GetSymlinkRoot(), Subdirectory: d.GetSubdirectory(), AppendServiceCluster: d.GetAppendServiceCluster(),
		}
	case *bootstrapv3.RuntimeLayer_RtdsLayer_:
		p := at.field("rtds_layer")
		out.RTDS = &runtime.RTDS{Resource: k.RtdsLayer.GetName(), Source: c.source(k.RtdsLayer.GetRtdsConfig(), p.field("rtds_config"))}
		if out.RTDS.Resource == "" {
			c.fail(p.field("name"), "must not be empty")
		}
		if out.RTDS.Source == nil {
			c.fail(p.field("rtds_config"), "must be set")
		}
	case *bootstrapv3.RuntimeLayer_AdminLayer_:
		out.Admin = true
	}
	return out
}

// idleRuntimeKeys are the keys of static layers that neither weir nor anything in m reads. Keys that switch features of Envoy
// itself are not among them: control planes set dozens of those for every proxy.
func (c *call) idleRuntimeKeys(m *bootstrapv3.Bootstrap, layers []runtime.Layer) []string {
	idle := map[string]bool{}
	for _, l := range layers {
		for key := range l.Values {
			if !model.RuntimeGuard(key) && !model.RuntimeKeyRead(key) {
				idle[key] = true
			}
		}
	}
	if len(idle) == 0 {
		return nil
	}
	named := map[string]bool{}
	c.namedRuntimeKeys(m.ProtoReflect(), named, 0)
	for key := range idle {
		for name := range named {
			if key == name || strings.HasPrefix(key, name+".") {
				delete(idle, key)
			}
		}
	}
	return slices.Sorted(maps.Keys(idle))
}

// namedRuntimeKeys collects the runtime keys, and prefixes of such, that a message and those below it name.
func (c *call) namedRuntimeKeys(m protoreflect.Message, into map[string]bool, depth int) {
	if depth > maxDepth {
		return
	}
	if a, ok := m.Interface().(*anypb.Any); ok {
		var inner proto.Message = c.unpacked[a]
		if c.unpacked[a] == nil {
			var err error
			if inner, err = a.UnmarshalNew(); err != nil {
				return
			}
		}
		c.namedRuntimeKeys(inner.ProtoReflect(), into, depth+1)
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Kind() == protoreflect.StringKind && !fd.IsList() && !fd.IsMap():
			if name := string(fd.Name()); strings.HasPrefix(name, "runtime_key") || strings.HasSuffix(name, "_runtime") {
				into[v.String()] = true
			}
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				c.namedRuntimeKeys(v.Message(), into, depth+1)
				return true
			})
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				c.namedRuntimeKeys(v.List().Get(i).Message(), into, depth+1)
			}
		case !fd.IsList() && !fd.IsMap() && fd.Message() != nil:
			c.namedRuntimeKeys(v.Message(), into, depth+1)
		}
		return true
	})
}
