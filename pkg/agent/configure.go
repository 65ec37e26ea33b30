package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/agent/version"
	"github.com/weir-proxy/weir/pkg/config/bootstrap"
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
	// Warnings tell what is accepted but worth knowing: unknown fields where they are allowed, and fields without effect.
	Warnings []string
	// UnknownFields and Unsupported count them by kind.
	UnknownFields, Unsupported int
}

// Configure reads and checks the configuration that the options name. It opens nothing but files and needs no privileges. The
// error holds everything that is wrong.
func Configure(o *options.Options) (*Configuration, error) {
	registry, err := Registry(o.DisabledExtensions)
	if err != nil {
		return nil, err
	}
	translator, err := translate.New(translate.Options{
		Registry: registry, DecodeAccessLogFilter: accesslog.DecodeFilter, AllowUnknown: o.AllowUnknownStatic,
		CheckFormat:          checkFormat,
		DecodeMatcher:        func(m *xdsmatcherv3.Matcher, r decode.TreeReader) (any, error) { return matcher.Decode(m, r) },
		DecodeFormat:         func(m *corev3.SubstitutionFormatString) (any, error) { return accesslog.DecodeFormat(m) },
		RejectUnknownDynamic: o.RejectUnknownDynamic,
	})
	if err != nil {
		return nil, err
	}
	b, unknown, err := bootstrap.Load(bootstrap.Options{
		Path: o.ConfigPath, InlineYAML: o.ConfigYAML, AllowUnknownStatic: o.AllowUnknownStatic,
		ServiceNode: o.ServiceNode, ServiceCluster: o.ServiceCluster, ServiceZone: o.ServiceZone,
		Extensions: announced(translator.Extensions()), BuildMetadata: map[string]string{"weir.version": version.Build()},
	})
	if err != nil {
		return nil, err
	}
	c := &Configuration{Bootstrap: b, Translator: translator, UnknownFields: len(unknown)}
	for _, w := range unknown {
		c.Warnings = append(c.Warnings, w.Error())
	}
	static, warnings, err := translator.Bootstrap(b, translate.Meta{UpdatedAt: time.Now()})
	if err != nil {
		return nil, err
	}
	c.Static = static
	more, err := static.Group().References()
	if err != nil {
		return nil, err
	}
	for _, w := range append(warnings, more...) {
		c.Warnings = append(c.Warnings, w.String())
	}
	c.Unsupported = len(warnings) + len(more)
	if o.RejectUnsupported && c.Unsupported > 0 {
		return nil, fmt.Errorf("configuration that weir would not act on (--reject-unsupported):\n%s", strings.Join(c.Warnings, "\n"))
	}
	return c, nil
}

// Registry builds the registry of extensions without the disabled ones, which are given as names or category/name.
func Registry(disabled []string) (*extension.Registry, error) {
	kept := slices.DeleteFunc(extensions(), func(f extension.Factory) bool {
		return slices.Contains(disabled, f.Name) || slices.Contains(disabled, f.Category+"/"+f.Name)
	})
	r, err := extension.NewRegistry(kept...)
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
func ErrorLines(err error) []string {
	var list protoyaml.Errors
	if errors.As(err, &list) {
		var lines []string
		for _, e := range list {
			lines = append(lines, e.Error())
		}
		return lines
	}
	return strings.Split(err.Error(), "\n")
}

// checkFormat tells what is wrong with a format string.
func checkFormat(s string) error {
	_, err := format.Compile(s)
	return err
}
