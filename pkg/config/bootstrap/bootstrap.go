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
	"regexp"
	"strconv"
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

// InlineName stands for the text of --config-yaml where errors name a file.
const InlineName = "--config-yaml"

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

// Loaded is what was read.
type Loaded struct {
	// Bootstrap is complete when there was no error. Otherwise it holds what could be decoded; nil when nothing could.
	Bootstrap *bootstrapv3.Bootstrap
	// Warnings are the unknown fields that AllowUnknownStatic let pass.
	Warnings []protoyaml.Error
	// Positions finds the places of the fields; nil for binary and text messages.
	Positions *protoyaml.Positions
}

// Load reads and validates a bootstrap configuration and completes its node.
//
// The warnings are the unknown fields that AllowUnknownStatic let pass. The
// error holds every problem of the configuration as a protoyaml.Errors.
func Load(opt Options) (*bootstrapv3.Bootstrap, []protoyaml.Error, error) {
	l, err := LoadParts(opt)
	if err != nil {
		return nil, l.Warnings, err
	}
	return l.Bootstrap, l.Warnings, nil
}

// LoadParts is Load for checks that go on: when there are errors, it returns
// what could be decoded beside them. The result is never nil.
func LoadParts(opt Options) (*Loaded, error) {
	l, err := read(opt)
	if l.Bootstrap != nil {
		completeNode(l.Bootstrap, opt)
	}
	if err != nil {
		return l, fmt.Errorf("load bootstrap configuration: %w", err)
	}
	return l, nil
}

// read decodes the sources, merges and validates them.
func read(opt Options) (*Loaded, error) {
	inline := strings.TrimSpace(opt.InlineYAML) != ""
	decode := protoyaml.Options{
		Resolver: opt.Resolver, AllowUnknown: opt.AllowUnknownStatic, SkipValidation: inline && opt.Path != "",
	}
	switch {
	case !inline && opt.Path == "":
		return &Loaded{}, errors.New("neither --config-path nor --config-yaml is given")
	case !inline:
		return readFile(opt.Path, decode)
	case opt.Path == "":
		return readText([]byte(opt.InlineYAML), InlineName, decode)
	}
	l, err := readFile(opt.Path, decode)
	over, overErr := readText([]byte(opt.InlineYAML), InlineName, decode)
	l.Warnings = append(l.Warnings, over.Warnings...)
	if l.Bootstrap == nil || over.Bootstrap == nil {
		l.Bootstrap = nil
		return l, joined(err, overErr)
	}
	proto.Merge(l.Bootstrap, over.Bootstrap)
	l.Positions = l.Positions.Merge(over.Positions)
	decode.SkipValidation = false
	warnings, ruleErr := validate(l, opt.Path+" with "+InlineName, decode)
	l.Warnings = append(l.Warnings, warnings...)
	if err != nil || overErr != nil {
		return l, joined(err, overErr)
	}
	return l, ruleErr
}

// joined is one list of the problems of two sources.
func joined(errs ...error) error {
	var all, one protoyaml.Errors
	for _, err := range errs {
		switch {
		case err == nil:
		case errors.As(err, &one):
			all = append(all, one...)
		default:
			return errors.Join(errs...)
		}
	}
	return all
}

// readText decodes YAML or JSON.
func readText(src []byte, file string, decode protoyaml.Options) (*Loaded, error) {
	l := &Loaded{Bootstrap: &bootstrapv3.Bootstrap{}, Positions: &protoyaml.Positions{}}
	decode.Positions = l.Positions
	warnings, err := protoyaml.Decode(src, file, l.Bootstrap, decode)
	l.Warnings = warnings
	if *l.Positions == (protoyaml.Positions{}) {
		l.Bootstrap, l.Positions = nil, nil // the text has another form
	}
	return l, err
}

// readFile decodes the file at path by its extension.
func readFile(path string, decode protoyaml.Options) (*Loaded, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return &Loaded{}, err
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
		return readText(src, path, decode)
	}
	if err != nil {
		return &Loaded{}, protoyaml.Errors{textError(path, err)}
	}
	l := &Loaded{Bootstrap: b}
	if decode.SkipValidation {
		return l, nil
	}
	l.Warnings, err = validate(l, path, decode)
	return l, err
}

// textError takes the place out of an error of the protobuf text format.
func textError(path string, err error) protoyaml.Error {
	e := protoyaml.Error{File: path, Code: protoyaml.CodeSyntax, Reason: err.Error()}
	where := regexp.MustCompile(`^proto:.*?\(line (\d+):(\d+)\): (?s)(.*)$`)
	if m := where.FindStringSubmatch(e.Reason); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Column, _ = strconv.Atoi(m[2])
		e.Reason = m[3]
	}
	return e
}

// validate checks what was loaded and gives what it finds its place, or else
// the name of the source.
func validate(l *Loaded, source string, decode protoyaml.Options) ([]protoyaml.Error, error) {
	place := func(e *protoyaml.Error) {
		e.File = source
		if at, _ := l.Positions.Find(e.Path); at.File != "" {
			e.File, e.Line, e.Column = at.File, at.Line, at.Column
		}
	}
	warnings, err := protoyaml.ValidateMessage(l.Bootstrap, decode)
	for i := range warnings {
		place(&warnings[i])
	}
	var list protoyaml.Errors
	if !errors.As(err, &list) {
		return warnings, err
	}
	for i := range list {
		place(&list[i])
	}
	return warnings, list
}
