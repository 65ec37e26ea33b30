package check

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weir-proxy/weir/pkg/config/bootstrap"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
)

// Checker checks with one translator.
type Checker struct {
	Translator *translate.Translator
	// Load says how bootstraps are read; its Path and InlineYAML are not used by Files.
	Load bootstrap.Options
	// RejectUnknownDynamic refuses unknown fields in files of resources.
	RejectUnknownDynamic bool
}

// Bootstrap is a bootstrap that was read and checked.
type Bootstrap struct {
	// Message is what could be read of it; nil when nothing could be.
	Message *bootstrapv3.Bootstrap
	// Static is what it configures; nil when it has errors.
	Static *translate.Static
	// Findings in order of their places.
	Findings Findings
}

// Bootstrap reads and checks the bootstrap that c.Load names, with all that is wrong in one go: what could not be decoded
// of one resource hides nothing of the others.
func (c *Checker) Bootstrap() *Bootstrap {
	one := c.bootstrap(c.Load)
	one.references(nil)
	out := &Bootstrap{Message: one.message, Findings: one.findings.sorted()}
	if out.Findings.Err() == nil {
		out.Static = one.static
	}
	return out
}

// boot is a bootstrap while it is checked.
type boot struct {
	file      string
	message   *bootstrapv3.Bootstrap
	positions *protoyaml.Positions
	static    *translate.Static
	findings  Findings
	// roots are the places of the static resources in the bootstrap, by kind and name.
	roots map[string]string
	// broken are the static resources that have errors.
	broken map[string]bool
}

// bootstrap reads and translates one bootstrap, without what holds its resources together.
func (c *Checker) bootstrap(load bootstrap.Options) *boot {
	loaded, err := bootstrap.LoadParts(load)
	one := &boot{file: load.Path, message: loaded.Bootstrap, positions: loaded.Positions, broken: map[string]bool{}}
	if one.file == "" {
		one.file = bootstrap.InlineName
	}
	one.roots = staticRoots(one.message)
	for _, w := range loaded.Warnings {
		one.findings = append(one.findings, one.within(decoded(Warning, w)))
	}
	undecoded := one.undecoded(err)
	if one.message == nil {
		return one
	}
	static, warnings, err := c.Translator.BootstrapParts(one.message, translate.Meta{UpdatedAt: time.Now()})
	one.static = static
	for _, e := range translate.FieldErrors(err) {
		if f := failed(e); !undecoded.hides(f, e.Root) {
			one.add(f, e.Root)
		}
		if e.Resource != "" {
			one.broken[e.Resource] = true
		}
	}
	for _, w := range warnings {
		if f := warned(w); !undecoded.hides(f, w.Root) {
			one.add(f, w.Root)
		}
	}
	if static != nil {
		for _, key := range static.IdleRuntimeKeys {
			one.add(Finding{
				Severity: Info, Field: runtimeField(one.message.GetLayeredRuntime().GetLayers(), key), Code: CodeIdleKey,
				Message: "nothing in weir or in this bootstrap reads the runtime key " + key,
			}, "")
		}
	}
	return one
}

// runtimeField leads to a key in the static layer that has the last word on it.
func runtimeField(layers []*bootstrapv3.RuntimeLayer, key string) string {
	for i, l := range slices.Backward(layers) {
		if at := keyField(l.GetStaticLayer(), key); at != "" {
			return fmt.Sprintf("layered_runtime.layers[%d].static_layer%s", i, at)
		}
	}
	return "layered_runtime"
}

// keyField leads to a key with dots, which may be written as structs in structs; empty when it is not there.
func keyField(s *structpb.Struct, key string) string {
	if _, has := s.GetFields()[key]; has {
		return fmt.Sprintf("[%q]", key)
	}
	for i, c := range key {
		if inner := s.GetFields()[key[:i]].GetStructValue(); c == '.' && inner != nil {
			if at := keyField(inner, key[i+1:]); at != "" {
				return fmt.Sprintf("[%q]%s", key[:i], at)
			}
		}
	}
	return ""
}

// add locates a finding and keeps it; root leads to its resource.
func (b *boot) add(f Finding, root string) {
	if root == "" && f.Type != "" {
		root = b.roots[f.resource()]
	}
	b.findings = append(b.findings, place(f, b.file, b.positions, root))
}

// place fills in where a finding is.
func place(f Finding, file string, positions *protoyaml.Positions, root string) Finding {
	path := f.Field
	switch {
	case root == "":
	case path == "" || strings.HasPrefix(path, "["):
		path = root + path
	default:
		path = root + "." + path
	}
	at, _ := positions.Find(path)
	f.File, f.Line, f.Column = at.File, at.Line, at.Column
	if f.File == "" {
		f.File = file
	}
	return f
}

// undecoded collects what decoding found wrong, and what it leaves open about the rest.
type undecoded struct {
	// roots are the resources of which something could not be decoded: what is missing there may follow from that.
	roots map[string]bool
	// seen are the fields whose rules were found broken.
	seen map[string]bool
	// any tells that there were errors: the rules were applied to all that could be decoded, and have been reported.
	any bool
	// top tells that something outside of the resources could not be decoded.
	top []string
}

func (b *boot) undecoded(err error) undecoded {
	u := undecoded{roots: map[string]bool{}, seen: map[string]bool{}}
	if err == nil {
		return u
	}
	var list protoyaml.Errors
	if !errors.As(err, &list) {
		b.findings = append(b.findings, Finding{Severity: Error, File: b.file, Code: CodeFile, Message: err.Error()})
		return u
	}
	u.any = len(list) > 0
	for _, e := range list {
		root, _ := splitRoot(e.Path)
		f := b.within(decoded(Error, e))
		b.findings = append(b.findings, f)
		if f.Type != "" {
			b.broken[f.resource()] = true
		}
		switch {
		case e.Code == protoyaml.CodeRule:
			u.seen[e.Path] = true
		case e.Code == protoyaml.CodeUnknownField:
		case root != "":
			u.roots[root] = true
		default:
			u.top = append(u.top, e.Path)
		}
	}
	return u
}

// hides tells whether a finding of translation repeats, or may follow from, one of decoding.
func (u undecoded) hides(f Finding, root string) bool {
	path := f.Field
	if root != "" {
		path = strings.TrimSuffix(root+"."+f.Field, ".")
	}
	switch {
	case u.roots[root], f.Code == string(translate.CodeRule) && u.any:
		return true
	case f.Code == string(translate.CodeInvalid) && u.seen[path]: // the rule, in other words
		return true
	}
	for _, bad := range u.top {
		if strings.HasPrefix(bad, path) || strings.HasPrefix(path, bad) {
			return true
		}
	}
	return false
}

var staticRoot = regexp.MustCompile(`^static_resources\.(listeners|clusters|secrets)\[\d+\]`)

// splitRoot takes the path of a static resource off a path of the bootstrap.
func splitRoot(path string) (root, rest string) {
	root = staticRoot.FindString(path)
	return root, strings.TrimPrefix(path[len(root):], ".")
}

// within names the resource of a finding of decoding.
func (b *boot) within(f Finding) Finding {
	root, rest := splitRoot(f.Field)
	if root == "" || f.Code == string(protoyaml.CodeSyntax) {
		return f
	}
	for resource, at := range b.roots {
		if at == root {
			f.Type, f.Name = splitResource(resource)
			f.Field = rest
		}
	}
	return f
}

// staticRoots finds the places of the static resources of b, which may be nil. Of two with one name the last counts.
func staticRoots(b *bootstrapv3.Bootstrap) map[string]string {
	roots := map[string]string{}
	add := func(kind, name, list string, i int) {
		roots[Finding{Type: kind, Name: name}.resource()] = fmt.Sprintf("static_resources.%s[%d]", list, i)
	}
	for i, m := range b.GetStaticResources().GetListeners() {
		add("listener", translate.ListenerName(m), "listeners", i)
	}
	for i, m := range b.GetStaticResources().GetClusters() {
		add("cluster", m.GetName(), "clusters", i)
	}
	for i, m := range b.GetStaticResources().GetSecrets() {
		add("secret", m.GetName(), "secrets", i)
	}
	return roots
}

// references checks what holds the resources together, those of files included.
func (b *boot) references(set *resources) {
	if b.static == nil {
		return
	}
	g := b.static.Group()
	for _, l := range b.static.Faulty {
		g.Faulty[l.Name] = l
	}
	for resource := range b.broken {
		g.Broken[resource] = true
		if kind, name := splitResource(resource); kind == "cluster" {
			g.StaticClusters[name] = true
		}
	}
	set.join(g)
	warnings, err := g.References()
	for _, e := range translate.FieldErrors(err) {
		b.settle(set, failed(e))
	}
	for _, w := range warnings {
		b.settle(set, warned(w))
	}
}

// settle locates a finding that is about a resource of the bootstrap or of a file.
func (b *boot) settle(set *resources, f Finding) {
	if r := set.find(f.resource()); r != nil {
		b.findings = append(b.findings, place(f, r.file, r.positions, ""))
		return
	}
	b.add(f, "")
}
