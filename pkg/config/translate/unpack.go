package translate

import (
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
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
// entry's name decides and the configuration is the default one. It returns nil after it recorded an error; when
// optional is set, an unknown extension is a warning instead.
func (c *call) lookup(category, name string, config *anypb.Any, optional bool, p *path) (*extension.Factory, proto.Message) {
	typeURL, at := "", p
	if config != nil {
		typeURL, at = c.typeOf(config), p.field("typed_config")
	}
	f, err := c.t.registry.Lookup(category, typeURL, name)
	if err != nil {
		if optional {
			c.warnAs(codeOf(err, CodeNotice), p, "optional extension is skipped: %v", err)
		} else {
			c.failAs(codeOf(err, CodeUnknownExtension), at, "%v", err)
		}
		return nil, nil
	}
	if config == nil {
		return f, f.Config.ProtoReflect().New().Interface()
	}
	m := c.unpack(config, at)
	if m == nil {
		return nil, nil
	}
	return f, m
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
		c.decodeError(err, p.field("typed_config"), "decode "+f.Name)
		return nil, nil
	}
	return f, v
}

// codeOf is the kind of a finding about an extension that is not there: CodeUnsupported for one of Envoy's.
func codeOf(err error, other Code) Code {
	if isKnown(err) {
		return CodeUnsupported
	}
	return other
}

// decodeError records what an extension found wrong with its configuration: each of the errors that err joins.
func (c *call) decodeError(err error, p *path, what string) {
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		c.fail(p, "%s: %v", what, err)
		return
	}
	for _, e := range many.Unwrap() {
		c.decodeError(e, p, what)
	}
}
