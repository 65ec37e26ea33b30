// Package translate turns Envoy's protobuf configuration into weir's model.
//
// It owns the meaning of configuration: Envoy's defaults, the checks that go beyond single fields, the decoding of the
// extensions that weir builds in (HTTP connection manager, TCP proxy, TLS, load balancers), and the promise that no
// configuration is silently ignored: every field that is set takes effect, is on the documented list of harmless ones,
// or yields a Warning (see Support). It must not know sockets, xDS streams or the text forms of configuration.
//
// A Translator holds no state between calls and is safe for concurrent use.
package translate

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// Options is what a Translator needs from its surroundings.
type Options struct {
	// Registry holds the extensions beside those that the translator builds in; nil: none.
	Registry *extension.Registry
	// Disabled names the extensions, built in or not, that are refused, as extension.Registry.Without takes them.
	Disabled []string
	// DecodeAccessLogFilter decodes AccessLog.filter; nil makes such filters an error.
	DecodeAccessLogFilter func(*accesslogv3.AccessLogFilter) (any, error)
	// DecodeFormat decodes the body formats of local replies; nil makes them an error.
	DecodeFormat func(*corev3.SubstitutionFormatString) (any, error)
	// CheckFormat tells what is wrong with the format string of a header to add; nil takes all for good.
	CheckFormat func(format string) error
	// DecodeMatcher compiles generic matcher trees, whose routes it does not look into; nil makes them an error.
	DecodeMatcher func(*xdsmatcherv3.Matcher, decode.TreeReader) (any, error)
	// ReadFile reads data sources; nil means os.ReadFile.
	ReadFile func(path string) ([]byte, error)
	// LookupEnv reads environment variables of data sources; nil means os.LookupEnv.
	LookupEnv func(name string) (string, bool)
	// Resolver finds message types inside Any; nil means protoregistry.GlobalTypes.
	Resolver protoyaml.Resolver
	// AllowUnknown lets unknown fields of static resources pass, and RejectUnknownDynamic refuses those of dynamic ones,
	// like Envoy's flags --allow-unknown-static-fields and --reject-unknown-dynamic-fields. They are about TypedStruct and
	// about binary messages that are newer than weir; the text of a bootstrap is checked where it is read.
	AllowUnknown, RejectUnknownDynamic bool
	// RejectUnsupported refuses resources, static and dynamic, with anything that weir would not act on.
	RejectUnsupported bool
}

// Meta is what a resource carries beside its content.
type Meta struct {
	// Version is the xDS version; empty for static configuration.
	Version string
	// Dynamic tells resources that came over xDS.
	Dynamic bool
	// UpdatedAt is when the resource was received.
	UpdatedAt time.Time
	// Unknown are the fields that the resource had beside those of the message; their paths lead from it.
	Unknown []protoyaml.Error
	// ManyHealthChecks allows a cluster several active checks, as health discovery (HDS) does and CDS does not.
	ManyHealthChecks bool
}

// Translator turns messages into the model. Build it with New.
type Translator struct {
	opt      Options
	registry *extension.Registry
	table    map[protoreflect.FullName]extension.Fields
	// notDisabled are the names of Options.Disabled that were of no use.
	notDisabled []string
	// process is set by a bootstrap, before anything that it holds for is translated.
	process process
	// deprecated counts the deprecated fields that were set so far.
	deprecated atomic.Uint64
	// walkers are those that have ended.
	walkers sync.Pool
}

// Deprecated is how many deprecated fields were set in what was translated so far.
func (t *Translator) Deprecated() uint64 { return t.deprecated.Load() }

// New builds a Translator. The error tells that the registry clashes with the built-in extensions.
func New(opt Options) (*Translator, error) {
	if opt.ReadFile == nil {
		opt.ReadFile = os.ReadFile
	}
	if opt.LookupEnv == nil {
		opt.LookupEnv = os.LookupEnv
	}
	registry, err := opt.Registry.With(builtin()...)
	if err != nil {
		return nil, fmt.Errorf("add built-in extensions: %w", err)
	}
	registry, unknown, err := registry.Without(opt.Disabled)
	if err != nil {
		return nil, fmt.Errorf("disable extensions: %w", err)
	}
	t := &Translator{opt: opt, registry: registry, table: Support(), notDisabled: unknown}
	for message, fields := range registry.Support() {
		t.table[message] = fields
	}
	return t, nil
}

// NotDisabled returns those of Options.Disabled that name no extension.
func (t *Translator) NotDisabled() []string { return t.notDisabled }

// Extensions returns the registry with the built-in extensions, for node.extensions.
func (t *Translator) Extensions() *extension.Registry { return t.registry }
