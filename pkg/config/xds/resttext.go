package xds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// decodeREST reads a DiscoveryResponse in JSON, and tells the fields that no message has by the number of the resource; nil
// when there are none. What is not as protobuf writes JSON is read once more as configuration files are, as Envoy does: with
// unknown fields, enums in small letters, one object where a list is meant.
func decodeREST(text []byte) (out *discoveryv3.DiscoveryResponse, unknown [][]protoyaml.Error, err error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil, fmt.Errorf("decode discovery response: %w: it is empty", ErrUnreadable)
	}
	out = &discoveryv3.DiscoveryResponse{}
	if err = protojson.Unmarshal(text, out); err == nil {
		return out, nil, nil
	}
	if !json.Valid(text) {
		return nil, nil, fmt.Errorf("decode discovery response: %w: %w", ErrUnreadable, err)
	}
	warnings, err := protoyaml.Decode(text, "", out, protoyaml.Options{AllowUnknown: true, SkipValidation: true})
	if err != nil {
		return nil, nil, fmt.Errorf("decode discovery response: %w: %w", ErrUnreadable, err)
	}
	for i, body := range out.GetResources() {
		root := fmt.Sprintf("resources[%d].", i)
		for _, w := range warnings {
			rest, inside := strings.CutPrefix(w.Path, root)
			if !inside {
				continue
			}
			if unknown == nil {
				unknown = make([][]protoyaml.Error, len(out.GetResources()))
			}
			if body.MessageIs(&discoveryv3.Resource{}) {
				rest = strings.TrimPrefix(rest, "resource.")
			}
			w.Path, w.Line, w.Column = rest, 0, 0
			unknown[i] = append(unknown[i], w)
		}
	}
	return out, unknown, nil
}
