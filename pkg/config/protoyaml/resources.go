package protoyaml

import (
	"slices"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
)

// Resource is one xDS resource of a file.
type Resource struct {
	// Message is the resource itself, decoded.
	Message proto.Message
	// Wrapper is the envoy.service.discovery.v3.Resource around it, which may
	// give a name, a version and a TTL; nil if there was none.
	Wrapper *discoveryv3.Resource
	// Line and Column say where it begins, Path how it is reached in its
	// document, such as resources[2].
	Line, Column int
	Path         string
	// Positions finds the places of the fields of Message.
	Positions *Positions
	// Errors are what is wrong with this resource, which are in the error of
	// DecodeResources too. Only Options.KeepBroken returns such resources.
	Errors []Error
	// Unknown are those of the warnings that are about this resource. Their paths
	// lead from Message.
	Unknown []Error
}

// DecodeResources decodes a file of xDS resources. Each YAML document is one
// resource with an "@type", a list of such, or a mapping with the key
// "resources" as in a DiscoveryResponse, whose version_info and other keys are
// checked but not returned. A resource may be wrapped in an
// envoy.service.discovery.v3.Resource.
//
// Warnings and error are as for Decode. The resources that are free of errors
// are returned also when others are not. A file without documents has no
// resources, which is no error.
func DecodeResources(src []byte, file string, opt Options) (resources []Resource, warnings []Error, err error) {
	docs, isJSON, err := parse(src, file)
	if err != nil {
		return nil, nil, err
	}
	d := newDecoder(file, len(src), isJSON, opt)
	for _, doc := range docs {
		resources = append(resources, d.resourceDoc(doc)...)
	}
	return resources, d.warnings, d.result()
}

// resourceDoc decodes one document.
func (d *decoder) resourceDoc(n *yaml.Node) []Resource {
	root := &frame{index: noIndex}
	switch n.Kind {
	case yaml.SequenceNode:
		return d.resourceList(n, root)
	case yaml.MappingNode:
	default:
		d.failAt(n, root, "", "expected a resource, a list of resources or a mapping with resources, got %s", d.describe(n, root))
		return nil
	}
	pairs := d.pairs(n, root, verbatim)
	url, rest := lookup(pairs, "@type")
	list, others := lookup(rest, "resources")
	const response = typePrefix + "envoy.service.discovery.v3.DiscoveryResponse"
	if list == nil || url != nil && follow(url.value).Value != response {
		if r := d.resource(n, root); r != nil {
			return []Resource{*r}
		}
		return nil
	}
	// The other keys of a DiscoveryResponse are of no use in a file, but their
	// spelling is checked.
	wrapper := (&discoveryv3.DiscoveryResponse{}).ProtoReflect()
	root.md = wrapper.Descriptor()
	d.fields(others, wrapper, root)
	at := root.child(root.md.Fields().ByName("resources"))
	return d.resourceList(follow(list.value), at)
}

// resourceList decodes a sequence of resources, or one where a list is meant.
func (d *decoder) resourceList(n *yaml.Node, at *frame) []Resource {
	if isNull(n) {
		return nil
	}
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	var resources []Resource
	for i, item := range items {
		if r := d.resource(item, at.elem(i)); r != nil {
			resources = append(resources, *r)
		}
	}
	return resources
}

// resource decodes one resource, or returns nil after reporting its errors.
func (d *decoder) resource(n *yaml.Node, at *frame) *Resource {
	before, warned := len(d.errs)+d.dropped, len(d.warnings)
	n = d.enter(n, at)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.failAt(n, at, "", `expected a resource with "@type", got %s`, d.describe(n, at))
		return nil
	}
	url, rest := lookup(d.pairs(n, at, verbatim), "@type")
	if url == nil {
		d.failAt(n, at, "", `"@type" is missing: it says what kind of resource this is`)
		return nil
	}
	r := &Resource{Line: n.Line, Column: n.Column, Path: at.path(), Positions: &Positions{file: d.file, root: n}}
	r.Message, _ = d.anyContent(n, *url, rest, at)
	wrapper, wrapped := r.Message.(*discoveryv3.Resource)
	if wrapped && (len(d.errs)+d.dropped == before || d.opt.KeepBroken && wrapper.GetResource().GetTypeUrl() != "") {
		r.Wrapper = wrapper
		r.Message = d.unwrapResource(n, wrapper, at)
	}
	switch bad := len(d.errs)+d.dropped > before; {
	case r.Message == nil || bad && !d.opt.KeepBroken:
		return nil
	case bad:
		r.Errors = slices.Clone(d.errs[min(before, len(d.errs)):])
	}
	r.Positions = r.Positions.inner(r.Wrapper != nil)
	for _, w := range d.warnings[warned:] {
		w.Path = within(w.Path, at.path(), r.Wrapper != nil)
		r.Unknown = append(r.Unknown, w)
	}
	return r
}

// within is a path from a resource, which is at root, or in a wrapper there.
func within(path, root string, wrapped bool) string {
	path = strings.TrimPrefix(strings.TrimPrefix(path, root), ".")
	if wrapped {
		path = strings.TrimPrefix(path, "resource.")
	}
	return path
}

// unwrapResource returns the resource inside a wrapper.
func (d *decoder) unwrapResource(n *yaml.Node, wrapper *discoveryv3.Resource, at *frame) proto.Message {
	if wrapper.GetResource().GetTypeUrl() == "" {
		d.failAt(n, at, "", "the wrapper holds no resource")
		return nil
	}
	inner, err := unmarshalAny(wrapper.GetResource(), d.opt.resolver())
	if err != nil {
		d.failAt(n, at, "", "%v", err)
		return nil
	}
	return inner
}
