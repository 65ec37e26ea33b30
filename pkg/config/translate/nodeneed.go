package translate

import (
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// needNode checks that the node is complete when anything in a bootstrap comes from a management server: whatever subscribes
// tells it who asks. Files are not told, so that they need no node, other than in Envoy.
func (c *call) needNode(m *bootstrapv3.Bootstrap) {
	if n := m.GetNode(); n.GetId() != "" && n.GetCluster() != "" {
		return
	}
	who, at := c.subscribes(m.ProtoReflect(), nil, 0)
	if who == "" {
		return
	}
	c.fail((*path)(nil).field("node"), "%s: node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node "+
		"and --service-cluster options. (%s asks a management server)", who, at)
}

// subscribes finds the first field of m, or of a message below it, that names a management server. who is how Envoy calls what
// comes from there, empty when there is none.
func (c *call) subscribes(m protoreflect.Message, at *path, depth int) (who, place string) {
	if depth > maxDepth {
		return "", ""
	}
	if a, ok := m.Interface().(*anypb.Any); ok {
		var inner proto.Message = c.unpacked[a]
		if c.unpacked[a] == nil {
			var err error
			if inner, err = a.UnmarshalNew(); err != nil {
				return "", ""
			}
		}
		return c.subscribes(inner.ProtoReflect(), at, depth+1)
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) || fd.Message() == nil {
			continue
		}
		if who, place = c.subscribesBelow(m, fd, at.field(string(fd.Name())), depth); who != "" {
			return who, place
		}
	}
	return "", ""
}

// subscribesBelow looks at the values of a field of messages.
func (c *call) subscribesBelow(m protoreflect.Message, fd protoreflect.FieldDescriptor, at *path, depth int) (who, place string) {
	switch v := m.Get(fd); {
	case fd.IsMap():
		if fd.MapValue().Message() == nil {
			return "", ""
		}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			who, place = c.subscribes(v.Message(), at, depth+1)
			return who == ""
		})
		return who, place
	case fd.IsList():
		for i := range v.List().Len() {
			if who, place = c.subscribes(v.List().Get(i).Message(), at.item(i), depth+1); who != "" {
				return who, place
			}
		}
		return "", ""
	default:
		if fromServer(v.Message().Interface()) {
			return subscriber(m.Descriptor(), fd), at.String()
		}
		return c.subscribes(v.Message(), at, depth+1)
	}
}

// fromServer tells whether a message says that something comes from a management server.
func fromServer(m proto.Message) bool {
	switch s := m.(type) {
	case *corev3.ApiConfigSource:
		return true
	case *corev3.ConfigSource:
		return s.GetAds() != nil || s.GetSelf() != nil || s.GetApiConfigSource() != nil
	}
	return false
}

// subscriber is how Envoy calls what a field of a message subscribes to: ads for ads_config, rds for Rds.config_source.
func subscriber(md protoreflect.MessageDescriptor, fd protoreflect.FieldDescriptor) string {
	name := strings.TrimSuffix(strings.TrimSuffix(string(fd.Name()), "_source"), "_config")
	switch {
	case md.Name() == "ExtensionConfigSource":
		return "ecds"
	case name == "api":
		return "ads" // an authority has such a stream
	case name == "config" || name == "default":
		return strings.ToLower(string(md.Name()))
	}
	return name
}
