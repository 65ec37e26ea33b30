package translate

import (
	"errors"
	"fmt"
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// typedStructURL returns the type URL that a TypedStruct in a stands for.
func typedStructURL(a *anypb.Any) (string, bool) {
	var m interface {
		proto.Message
		GetTypeUrl() string
	}
	switch a.GetTypeUrl()[strings.LastIndexByte(a.GetTypeUrl(), '/')+1:] {
	case "udpa.type.v1.TypedStruct":
		m = &udpav1.TypedStruct{}
	case "xds.type.v3.TypedStruct":
		m = &xdsv3.TypedStruct{}
	default:
		return "", false
	}
	if err := proto.Unmarshal(a.GetValue(), m); err != nil {
		return "", false
	}
	return m.GetTypeUrl(), true
}

// lookup finds the factory for an extension entry and the message of its configuration. Without a typed_config the
// entry's name decides and the configuration is the default one. It returns nil after it recorded an error; when optional
// is set, an unknown extension is a warning instead.
func (c *call) lookup(category, name string, config *anypb.Any, optional bool, p *path) (*extension.Factory, proto.Message) {
	f, err := c.factory(category, name, config)
	if reason := leftOut(c.typeOf(config)); err != nil && reason != "" {
		c.lacks(p, "extension type %s is left out: %s", c.typeOf(config), reason)
		return nil, nil
	}
	switch {
	case err != nil && optional:
		c.warnAs(codeOf(err, CodeNotice), p, "optional extension is skipped: %v", err)
		return nil, nil
	case err != nil && config == nil:
		c.failAs(codeOf(err, CodeUnknownExtension), p, "%v", err)
		return nil, nil
	case err != nil:
		c.failAs(codeOf(err, CodeUnknownExtension), p.field("typed_config"), "%v", err)
		return nil, nil
	case config == nil:
		return f, f.Config.ProtoReflect().New().Interface()
	}
	m := c.unpack(config, p.field("typed_config"))
	if m == nil {
		return nil, nil
	}
	return f, m
}

// factory finds the factory for an extension entry. The names that Envoy's older versions looked extensions up by are
// known too; any other name alone is refused in Envoy's words.
func (c *call) factory(category, name string, config *anypb.Any) (*extension.Factory, error) {
	if config.GetTypeUrl() != "" {
		return c.t.registry.Lookup(category, c.typeOf(config), name)
	}
	f, err := c.t.registry.Lookup(category, "", name)
	if err == nil {
		return f, nil
	}
	hint := fmt.Sprintf(" (there is no such extension in %s)", category)
	if unknown, ok := errors.AsType[*extension.UnknownError](err); ok && unknown.Suggestion != "" {
		hint = fmt.Sprintf(" (did you mean '%s'?)", unknown.Suggestion)
	}
	//lint:ignore ST1005 these are Envoy's words
	return nil, fmt.Errorf("Didn't find a registered implementation for '%s' with type URL: ''%s", name, hint)
}

// extension decodes an extension entry through its factory. It returns nil, nil after it recorded an error or warning.
func (c *call) extension(category, name string, config *anypb.Any, optional bool, p *path) (*extension.Factory, any) {
	f, m := c.lookup(category, name, config, optional, p)
	if f == nil {
		return nil, nil
	}
	return c.decoded(f, f.Decode, m, p)
}

// decoded runs decode, which may be nil for extensions that the translator builds in.
func (c *call) decoded(f *extension.Factory, decode func(proto.Message) (any, error), m proto.Message, p *path) (*extension.Factory, any) {
	if decode == nil {
		c.fail(p, "extension %s cannot be used here", f.Name)
		return nil, nil
	}
	v, err := decode(m)
	if err != nil {
		c.decodeError(err, m, p.field("typed_config"), "decode "+f.Name)
		return nil, nil
	}
	c.review(f, m, p.field("typed_config"))
	c.readSources(v, p.field("typed_config"))
	return f, v
}

// sourced is what an extension decoded that holds configuration sources, which it has the translator read.
type sourced interface {
	// ReadSources calls read for each, with the fields that lead to it.
	ReadSources(read func(m *corev3.ConfigSource, fields ...string) *model.Source)
}

// readSources completes what an extension decoded at p.
func (c *call) readSources(v any, p *path) {
	if s, ok := v.(sourced); ok {
		s.ReadSources(func(m *corev3.ConfigSource, fields ...string) *model.Source {
			at := p
			for _, f := range fields {
				at = at.field(f)
			}
			return c.source(m, at)
		})
	}
}

// review records what an extension tells of a configuration that it accepts.
func (c *call) review(f *extension.Factory, m proto.Message, p *path) {
	if f.Review == nil {
		return
	}
	for _, finding := range f.Review(m) {
		at := p
		if finding.Path != "" {
			at = p.field(finding.Path)
		}
		if finding.Unsupported {
			c.lacks(at, "%s", finding.Reason)
		} else {
			c.warn(at, "%s", finding.Reason)
		}
	}
}

// codeOf is the kind of a finding about an extension that is not there: CodeUnsupported for one of Envoy's.
func codeOf(err error, other Code) Code {
	if isKnown(err) {
		return CodeUnsupported
	}
	return other
}

// decodeError records what an extension found wrong with m, its configuration: each of the errors that err joins. Those that
// begin with the path of a field of m are recorded there.
func (c *call) decodeError(err error, m proto.Message, p *path, what string) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			c.decodeError(e, m, p, what)
		}
		return
	}
	if field, reason, ok := strings.Cut(err.Error(), ": "); ok && startsWithField(m, field) {
		c.fail(p.field(field), "%s: %s", what, reason)
		return
	}
	c.fail(p, "%s: %v", what, err)
}

// startsWithField tells whether text is a path that begins with a field of m.
func startsWithField(m proto.Message, text string) bool {
	name := text
	if i := strings.IndexAny(text, ".["); i >= 0 {
		name = text[:i]
	}
	return !strings.Contains(text, " ") && m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name)) != nil
}
