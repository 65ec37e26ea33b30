package protoyaml

import (
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Foreign tells whose message a type URL names when that is not part of
// Envoy's API but of a proxy that was built on Envoy, and which its control
// plane also sends to others: such as istio. Their descriptors are not known,
// so the content is not looked into: decoding keeps the type URL alone.
func Foreign(typeURL string) (owner string, ok bool) {
	name := typeURL[strings.LastIndexByte(typeURL, '/')+1:]
	switch name {
	case "stats.PluginConfig", "envoy.tcp.metadataexchange.config.MetadataExchange",
		"envoy.extensions.network_filters.peer_metadata.Config", "envoy.extensions.network_filters.peer_metadata.UpstreamConfig":
		return "istio", true
	}
	for prefix, owner := range map[string]string{"istio.": "istio", "io.istio.": "istio", "cilium.": "Cilium"} {
		if strings.HasPrefix(name, prefix) {
			return owner, true
		}
	}
	return "", false
}

// foreign returns an empty message in place of one whose type is foreign and
// not known, with its type URL.
func (d *decoder) foreign(url *yaml.Node) (m proto.Message, typeURL string, ok bool) {
	if url.Kind != yaml.ScalarNode {
		return nil, "", false
	}
	if _, is := Foreign(url.Value); !is {
		return nil, "", false
	}
	if _, err := d.opt.resolver().FindMessageByURL(url.Value); err == nil {
		return nil, "", false
	}
	return &emptypb.Empty{}, typePrefix + url.Value[strings.LastIndexByte(url.Value, '/')+1:], true
}
