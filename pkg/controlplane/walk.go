package controlplane

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxNesting bounds how deep messages within a resource are looked into, as protobuf's own decoder does for JSON.
const maxNesting = 100

// finder collects the references of all messages within a resource.
type finder struct{ found []reference }

func (f *finder) add(url, name string) {
	if name != "" {
		f.found = append(f.found, reference{url, name})
	}
}

// fromHere adds a reference to what comes from the server that the resource itself came from: over the aggregated stream,
// or from the same source.
func (f *finder) fromHere(source *corev3.ConfigSource, url, name string) {
	if source.GetAds() != nil || source.GetSelf() != nil {
		f.add(url, name)
	}
}

// walk looks at m and at all messages in it, those packed in Any included. What cannot be unpacked has no references.
func (f *finder) walk(m protoreflect.Message, depth int) {
	if depth > maxNesting || !m.IsValid() {
		return
	}
	message := m.Interface()
	if body, ok := message.(*anypb.Any); ok {
		if content, err := body.UnmarshalNew(); err == nil {
			f.walk(content.ProtoReflect(), depth+1)
		}
		return
	}
	f.visit(message)
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case d.IsMap():
			if d.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					f.walk(v.Message(), depth+1)
					return true
				})
			}
		case d.Message() == nil:
		case d.IsList():
			for i := range v.List().Len() {
				f.walk(v.List().Get(i).Message(), depth+1)
			}
		default:
			f.walk(v.Message(), depth+1)
		}
		return true
	})
}

// visit adds what m itself refers to.
func (f *finder) visit(m proto.Message) {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		if m.GetType() == clusterv3.Cluster_EDS {
			name := m.GetEdsClusterConfig().GetServiceName()
			if name == "" {
				name = m.GetName()
			}
			f.fromHere(m.GetEdsClusterConfig().GetEdsConfig(), resource.EndpointType, name)
		}
	case *aggregatev3.ClusterConfig:
		for _, name := range m.GetClusters() {
			f.add(resource.ClusterType, name)
		}
	case *hcmv3.Rds:
		f.fromHere(m.GetConfigSource(), resource.RouteType, m.GetRouteConfigName())
	case *routev3.ScopedRouteConfiguration:
		f.add(resource.RouteType, m.GetRouteConfigurationName())
	case *tlsv3.SdsSecretConfig:
		f.fromHere(m.GetSdsConfig(), resource.SecretType, m.GetName())
	case *hcmv3.HttpFilter:
		f.fromHere(m.GetConfigDiscovery().GetConfigSource(), resource.ExtensionConfigType, m.GetName())
	case *listenerv3.Filter:
		f.fromHere(m.GetConfigDiscovery().GetConfigSource(), resource.ExtensionConfigType, m.GetName())
	case *listenerv3.ListenerFilter:
		f.fromHere(m.GetConfigDiscovery().GetConfigSource(), resource.ExtensionConfigType, m.GetName())
	case *tcpproxyv3.TcpProxy:
		f.add(resource.ClusterType, m.GetCluster())
		for _, w := range m.GetWeightedClusters().GetClusters() {
			f.add(resource.ClusterType, w.GetName())
		}
	case *routev3.RouteAction:
		f.add(resource.ClusterType, m.GetCluster())
		for _, w := range m.GetWeightedClusters().GetClusters() {
			f.add(resource.ClusterType, w.GetName())
		}
	case *routev3.RouteAction_RequestMirrorPolicy:
		f.add(resource.ClusterType, m.GetCluster())
	}
}
