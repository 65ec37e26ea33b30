// Package bootstrap loads Envoy's bootstrap configuration from files, from text
// given on the command line, or both, and fills in the node.
//
// It owns the choice of a format by file name, the merge of --config-yaml over
// --config-path, and what the proxy says about itself in the node. It must not
// know what the configuration means: names of old extensions without a
// typed_config, for example, are kept for the translation to resolve. It has no
// state and needs no locking.
package bootstrap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	// The types of Envoy's API, for the extensions that a bootstrap names.
	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// inlineName stands for the text of --config-yaml where errors name a file.
const inlineName = "--config-yaml"

// Options says what to load. Path or InlineYAML must be set.
type Options struct {
	// Path is --config-path. Its extension chooses the format: .yaml and .yml,
	// .json, .pb (binary), .pb_text (protobuf text); any other is read as YAML
	// or JSON by its content.
	Path string
	// InlineYAML is --config-yaml, YAML or JSON that is merged over the file:
	// single values replace, messages merge, lists append.
	InlineYAML string
	// AllowUnknownStatic is --allow-unknown-static-fields: unknown fields are
	// warnings.
	AllowUnknownStatic bool

	// ServiceNode, ServiceCluster and ServiceZone are the flags of the same
	// names. They win over node.id, node.cluster and node.locality.zone.
	ServiceNode, ServiceCluster, ServiceZone string

	// Extensions is what the node says the proxy supports; it is appended to
	// what the configuration lists.
	Extensions []*corev3.Extension
	// ClientFeatures is appended to the node's client_features, without
	// repeating any.
	ClientFeatures []string
	// BuildMetadata is added to the metadata of the node's build version, for
	// instance weir's own version.
	BuildMetadata map[string]string

	// Resolver finds the messages inside an Any; nil means protoregistry.GlobalTypes.
	Resolver protoyaml.Resolver
}

// Load reads and validates a bootstrap configuration and completes its node.
//
// The warnings are the unknown fields that AllowUnknownStatic let pass. The
// error holds every problem of the configuration as a protoyaml.Errors; when
// the file and the inline text are both given, violated validation rules of
// the merged whole have no line numbers.
func Load(opt Options) (*bootstrapv3.Bootstrap, []protoyaml.Error, error) {
	b, warnings, err := read(opt)
	if err != nil {
		return nil, warnings, fmt.Errorf("load bootstrap configuration: %w", err)
	}
	completeNode(b, opt)
	return b, warnings, nil
}

// read decodes the sources, merges and validates them.
func read(opt Options) (*bootstrapv3.Bootstrap, []protoyaml.Error, error) {
	inline := strings.TrimSpace(opt.InlineYAML) != ""
	decode := protoyaml.Options{
		Resolver: opt.Resolver, AllowUnknown: opt.AllowUnknownStatic, SkipValidation: inline && opt.Path != "",
	}
	switch {
	case !inline && opt.Path == "":
		return nil, nil, errors.New("neither --config-path nor --config-yaml is given")
	case !inline:
		return readFile(opt.Path, decode)
	case opt.Path == "":
		b := &bootstrapv3.Bootstrap{}
		warnings, err := protoyaml.Decode([]byte(opt.InlineYAML), inlineName, b, decode)
		return b, warnings, err
	}
	b, warnings, err := readFile(opt.Path, decode)
	over := &bootstrapv3.Bootstrap{}
	overWarnings, overErr := protoyaml.Decode([]byte(opt.InlineYAML), inlineName, over, decode)
	warnings = append(warnings, overWarnings...)
	if err := errors.Join(err, overErr); err != nil {
		return nil, warnings, err
	}
	proto.Merge(b, over)
	decode.SkipValidation = false
	mergedWarnings, err := validate(b, opt.Path+" with "+inlineName, decode)
	return b, append(warnings, mergedWarnings...), err
}

// readFile decodes the file at path by its extension.
func readFile(path string, decode protoyaml.Options) (*bootstrapv3.Bootstrap, []protoyaml.Error, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	b := &bootstrapv3.Bootstrap{}
	resolver := decode.Resolver
	if resolver == nil {
		resolver = protoregistry.GlobalTypes
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".pb":
		err = proto.UnmarshalOptions{Resolver: resolver}.Unmarshal(src, b)
	case ".pb_text":
		err = prototext.UnmarshalOptions{Resolver: resolver, DiscardUnknown: decode.AllowUnknown}.Unmarshal(src, b)
	default:
		warnings, err := protoyaml.Decode(src, path, b, decode)
		return b, warnings, err
	}
	if err != nil {
		return nil, nil, protoyaml.Errors{{File: path, Reason: err.Error()}}
	}
	if decode.SkipValidation {
		return b, nil, nil
	}
	warnings, err := validate(b, path, decode)
	return b, warnings, err
}

// validate checks b and puts the name of its source on what it finds.
func validate(b *bootstrapv3.Bootstrap, source string, decode protoyaml.Options) ([]protoyaml.Error, error) {
	warnings, err := protoyaml.ValidateMessage(b, decode)
	for i := range warnings {
		warnings[i].File = source
	}
	var list protoyaml.Errors
	if !errors.As(err, &list) {
		return warnings, err
	}
	for i := range list {
		list[i].File = source
	}
	return warnings, list
}
