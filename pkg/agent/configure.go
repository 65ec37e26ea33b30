package agent

import (
	"fmt"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/agent/version"
	"github.com/weir-proxy/weir/pkg/config/bootstrap"
	"github.com/weir-proxy/weir/pkg/config/check"
	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
)

// Configuration is a bootstrap that was read, checked and translated.
type Configuration struct {
	Bootstrap  *bootstrapv3.Bootstrap
	Static     *translate.Static
	Translator *translate.Translator
	// Findings are what is accepted but worth knowing, each with its place: unknown fields where they are allowed, and
	// fields without effect. Warnings are the same as text.
	Findings check.Findings
	Warnings []string
	// UnknownFields and Unsupported count them by kind.
	UnknownFields, Unsupported int
}

// Configure reads and checks the configuration that the options name. It opens nothing but files and needs no privileges.
// The error holds everything that is wrong, as a check.Findings.
func Configure(o *options.Options) (*Configuration, error) {
	checker, err := NewChecker(o)
	if err != nil {
		return nil, err
	}
	b := checker.Bootstrap()
	if err := b.Findings.Err(); err != nil {
		return nil, err
	}
	c := &Configuration{
		Bootstrap: b.Message, Static: b.Static, Translator: checker.Translator, Findings: b.Findings, Unsupported: b.Findings.Unsupported(),
	}
	for _, name := range checker.Translator.NotDisabled() {
		c.Warnings = append(c.Warnings, "--disable-extensions: weir has no extension "+name)
	}
	for _, f := range b.Findings {
		if f.Severity == check.Info { // what is dynamic may make use of it yet
			continue
		}
		c.Warnings = append(c.Warnings, f.String())
		if f.Code == string(protoyaml.CodeUnknownField) {
			c.UnknownFields++
		}
	}
	return c, nil
}

// NewChecker returns what checks configurations as the options say, with the extensions of this build.
func NewChecker(o *options.Options) (*check.Checker, error) {
	registry, err := Registry()
	if err != nil {
		return nil, err
	}
	translator, err := translate.New(translate.Options{
		Registry: registry, Disabled: o.DisabledExtensions, DecodeAccessLogFilter: accesslog.DecodeFilter, AllowUnknown: o.AllowUnknownStatic,
		CheckFormat:          checkFormat,
		DecodeMatcher:        func(m *xdsmatcherv3.Matcher, r decode.TreeReader) (any, error) { return matcher.Decode(m, r) },
		DecodeFormat:         func(m *corev3.SubstitutionFormatString) (any, error) { return accesslog.DecodeFormat(m) },
		RejectUnknownDynamic: o.RejectUnknownDynamic, RejectUnsupported: o.RejectUnsupported,
	})
	if err != nil {
		return nil, err
	}
	return &check.Checker{Translator: translator, Load: bootstrap.Options{
		Path: o.ConfigPath, InlineYAML: o.ConfigYAML, AllowUnknownStatic: o.AllowUnknownStatic,
		ServiceNode: o.ServiceNode, ServiceCluster: o.ServiceCluster, ServiceZone: o.ServiceZone,
		Extensions: announced(translator.Extensions()), BuildMetadata: map[string]string{"weir.version": version.Build()},
		ClientFeatures: clientFeatures(),
	}}, nil
}

// clientFeatures are what the node says that this proxy can do, in the words that control planes know: resources may stand
// in wrappers also where the whole state is sent. That hosts are overprovisioned is not denied, since they are.
func clientFeatures() []string { return []string{"xds.config.resource-in-sotw"} }

// Registry builds the registry of the extensions that are packages of their own.
func Registry() (*extension.Registry, error) {
	r, err := extension.NewRegistry(extensions()...)
	if err != nil {
		return nil, fmt.Errorf("register extensions: %w", err)
	}
	return r, nil
}

// announced are the extensions in the form of node.extensions.
func announced(r *extension.Registry) []*corev3.Extension {
	var out []*corev3.Extension
	for _, f := range r.List() {
		out = append(out, &corev3.Extension{Category: f.Category, Name: f.Name, TypeUrls: []string{f.TypeURL()}})
	}
	return out
}

// ErrorLines splits an error of Configure into one finding a line.
func ErrorLines(err error) []string { return strings.Split(err.Error(), "\n") }

// checkFormat tells what is wrong with a format string.
func checkFormat(s string) error {
	_, err := format.Compile(s)
	return err
}
