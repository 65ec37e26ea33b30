package translate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// maxFindings bounds the errors, and the warnings, that one resource can have.
const maxFindings = 1000

// call is one translation under way: what was found wrong so far, and what Any fields held.
type call struct {
	t        *Translator
	meta     Meta
	resource string
	errs     []error
	warnings []Warning
	// unpacked holds the Any fields that were understood; the walk over set fields looks into these only.
	unpacked map[*anypb.Any]proto.Message
	// files collects the data sources that were read from files.
	files []string
	// plugins are the names of the cluster specifier plugins of the route configuration.
	plugins map[string]bool
	// named are fields that have no effect and whose entries were reported by name.
	named []protoreflect.FullName
	// content collects the bytes of those data sources, for hashes.
	content []byte
}

// begin starts the translation of one resource. The message is checked against the rules of protoc-gen-validate.
func (t *Translator) begin(m proto.Message, meta Meta, resource string) *call {
	c := &call{t: t, meta: meta, resource: resource, unpacked: map[*anypb.Any]proto.Message{}}
	for _, u := range meta.Unknown {
		c.warnings = append(c.warnings, Warning{Resource: resource, Path: u.Path, Reason: u.Reason, Suggestion: u.Suggestion, Code: CodeUnknownField})
	}
	c.validate(m, nil)
	return c
}

// end warns about fields without effect and returns what was found. A field that has an error needs no warning too.
func (c *call) end(m proto.Message) ([]Warning, error) {
	c.walk(m.ProtoReflect())
	failed := map[string]bool{}
	for _, err := range c.errs {
		if e, ok := errors.AsType[*FieldError](err); ok && e.Resource == c.resource {
			failed[e.Path] = true
		}
	}
	c.warnings = slices.DeleteFunc(c.warnings, func(w Warning) bool { return w.Resource == c.resource && failed[w.Path] })
	c.refuse()
	slices.SortStableFunc(c.warnings, func(a, b Warning) int {
		return cmp.Or(strings.Compare(a.Resource, b.Resource), strings.Compare(a.Path, b.Path))
	})
	return c.warnings, errors.Join(c.errs...)
}

// refuse makes errors of what weir would not act on, when that is asked for.
func (c *call) refuse() {
	if !c.t.opt.RejectUnsupported {
		return
	}
	c.warnings = slices.DeleteFunc(c.warnings, func(w Warning) bool {
		if w.Code != CodeUnsupported {
			return false
		}
		c.errs = append(c.errs, &FieldError{Resource: w.Resource, Path: w.Path, Reason: w.Reason, Code: w.Code, Suggestion: w.Suggestion, Root: w.Root})
		return true
	})
}

// fail records an error at p.
func (c *call) fail(p *path, format string, args ...any) { c.failAs(CodeInvalid, p, format, args...) }

// failAs records an error of a kind at p.
func (c *call) failAs(code Code, p *path, format string, args ...any) {
	if len(c.errs) < maxFindings {
		c.errs = append(c.errs, &FieldError{Resource: c.resource, Path: p.String(), Reason: fmt.Sprintf(format, args...), Code: code})
	}
}

// warn records a warning at p: something has another effect than may be expected.
func (c *call) warn(p *path, format string, args ...any) { c.warnAs(CodeNotice, p, format, args...) }

// lacks records a warning at p: Envoy would act on it, and weir does not.
func (c *call) lacks(p *path, format string, args ...any) {
	c.warnAs(CodeUnsupported, p, format, args...)
}

func (c *call) warnAs(code Code, p *path, format string, args ...any) {
	if len(c.warnings) < maxFindings {
		c.warnings = append(c.warnings, Warning{Resource: c.resource, Path: p.String(), Reason: fmt.Sprintf(format, args...), Code: code})
	}
}

// unsupported records the error for a field that cannot be left out without changing what the resource means.
func (c *call) unsupported(p *path) { c.failAs(CodeUnsupported, p, "not supported by weir") }

// unpack returns the message inside a, TypedStruct resolved, and nil after it recorded an error. The message counts as
// understood: its fields are warned about when they have no effect.
func (c *call) unpack(a *anypb.Any, p *path) proto.Message {
	m, err := c.resolve(a)
	if err != nil {
		c.fail(p, "%v", err)
		return nil
	}
	c.unpacked[a] = m
	c.validate(m, p)
	return m
}

// resolve is the one place that knows what an Any may hold.
func (c *call) resolve(a *anypb.Any) (proto.Message, error) {
	if m := c.unpacked[a]; m != nil {
		return m, nil
	}
	return protoyaml.UnwrapTypedStruct(a, protoyaml.Options{Resolver: c.t.opt.Resolver, AllowUnknown: c.allowsUnknown()})
}

// allowsUnknown tells whether unknown fields are only warned about.
func (c *call) allowsUnknown() bool {
	if c.meta.Dynamic {
		return !c.t.opt.RejectUnknownDynamic
	}
	return c.t.opt.AllowUnknown
}

// typeOf is the type URL of what a holds, with TypedStruct resolved to the type it stands for.
func (c *call) typeOf(a *anypb.Any) string {
	if m, ok := typedStructURL(a); ok {
		return m
	}
	return a.GetTypeUrl()
}
