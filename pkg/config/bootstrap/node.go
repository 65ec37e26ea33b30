package bootstrap

import (
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// What weir says of itself to control planes. They choose the fields and
// resource types that they send by these values, and refuse what they do not
// know, so the name and version are those of the Envoy whose configuration weir
// implements. A configuration may set others.
const (
	userAgentName                       = "envoy"
	apiMajor, apiMinor, apiPatch uint32 = 1, 32, 0
)

// completeNode sets what the flags and the program itself say in the node, in
// the way of Envoy: flags win over the configuration, and the configuration
// over the program.
func completeNode(b *bootstrapv3.Bootstrap, opt Options) {
	if b.Node == nil {
		b.Node = &corev3.Node{}
	}
	n := b.Node
	if opt.ServiceNode != "" {
		n.Id = opt.ServiceNode
	}
	if opt.ServiceCluster != "" {
		n.Cluster = opt.ServiceCluster
	}
	if opt.ServiceZone != "" {
		if n.Locality == nil {
			n.Locality = &corev3.Locality{}
		}
		n.Locality.Zone = opt.ServiceZone
	}
	if n.UserAgentName == "" {
		n.UserAgentName = userAgentName
	}
	if n.GetUserAgentBuildVersion().GetVersion() == nil {
		n.UserAgentVersionType = &corev3.Node_UserAgentBuildVersion{UserAgentBuildVersion: buildVersion(opt.BuildMetadata)}
	}
	n.Extensions = append(n.Extensions, opt.Extensions...)
	for _, feature := range opt.ClientFeatures {
		if !slices.Contains(n.ClientFeatures, feature) {
			n.ClientFeatures = append(n.ClientFeatures, feature)
		}
	}
}

// buildVersion is Envoy's build version with weir's metadata.
func buildVersion(metadata map[string]string) *corev3.BuildVersion {
	fields := map[string]*structpb.Value{"build.type": structpb.NewStringValue("RELEASE")}
	for k, v := range metadata {
		fields[k] = structpb.NewStringValue(v)
	}
	return &corev3.BuildVersion{
		Version:  &typev3.SemanticVersion{MajorNumber: apiMajor, MinorNumber: apiMinor, Patch: apiPatch},
		Metadata: &structpb.Struct{Fields: fields},
	}
}
