package controlplane

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// digest identifies content.
type digest [16]byte

// item is a resource in the form in which it is sent. It is not written once made, and shared by all groups and clients.
type item struct {
	kind *kind
	name string
	// aliases are further names by which clients may ask for it.
	aliases []string
	// version is the hash of the content, the same after a restart.
	version string
	sum     digest
	body    *anypb.Any
	// bare is what a stream of the state of the world sends: body, or a wrapper that tells the name where body does not.
	bare *anypb.Any
	// refs are the resources that clients will ask for once they have this one.
	refs []reference
	// addresses are those at which a listener accepts.
	addresses []string
	// origin says where it was defined, as FILE:LINE:COLUMN; "" for resources that were not read from files.
	origin string
}

// describe names the item for a message.
func (i *item) describe() string { return fmt.Sprintf("%s %q", i.kind.short(), i.name) }

// newItem checks a resource, which may be wrapped in an envoy.service.discovery.v3.Resource, and packs it.
func newItem(m proto.Message, wrapper *discoveryv3.Resource) (*item, error) {
	if m == nil {
		return nil, errors.New("serve resource: it is nil")
	}
	kind := kindOf(resource.APITypePrefix + string(proto.MessageName(m)))
	if kind == nil {
		return nil, fmt.Errorf("serve %s: only %s can be served", proto.MessageName(m).Name(), kindNames())
	}
	own := cache.GetResourceName(m)
	it := &item{kind: kind, name: own}
	if err := it.wrapped(wrapper); err != nil {
		return nil, err
	}
	if err := it.checkName(own); err != nil {
		return nil, err
	}
	if v, ok := m.(*routev3.VirtualHost); ok {
		it.aliases = append(it.aliases, it.hostAliases(v)...)
	}
	slices.Sort(it.aliases)
	it.aliases = slices.DeleteFunc(slices.Compact(it.aliases), func(a string) bool { return a == it.name })
	if _, err := protoyaml.ValidateMessage(m, protoyaml.Options{AllowUnknown: true}); err != nil {
		return nil, fmt.Errorf("serve %s: %w", it.describe(), err)
	}
	it.refs, it.addresses = references(m), addressesOf(m)
	return it, it.pack(m, own)
}

// wrapped takes over what the wrapper says.
func (i *item) wrapped(w *discoveryv3.Resource) error {
	if w.GetName() != "" {
		i.name = w.GetName()
	}
	i.aliases = slices.Clone(w.GetAliases())
	switch {
	case w.GetTtl() != nil:
		return fmt.Errorf("serve %s: ttl: is not supported, a resource is served for as long as it is there: leave it out", i.describe())
	case w.GetVersion() != "":
		return fmt.Errorf("serve %s: version: it is the hash of the content here: leave it out", i.describe())
	case w.GetCacheControl() != nil || w.GetResourceName() != nil || w.GetMetadata() != nil:
		return fmt.Errorf("serve %s: only name, aliases and resource of a wrapper are supported", i.describe())
	}
	return nil
}

// checkName checks the name; own is what the content calls itself.
func (i *item) checkName(own string) error {
	switch {
	case i.name == "" && i.kind.url == lbEndpointType:
		return fmt.Errorf(`serve %s: it has no name: wrap it in "@type": %s with name and resource`, i.kind.short(), wrapperType)
	case i.name == "":
		return fmt.Errorf("serve %s: it has no name", i.kind.short())
	case i.kind.url == resource.VirtualHostType && !strings.Contains(i.name, "/"):
		return fmt.Errorf("serve %s: the name must be ROUTE_CONFIGURATION/VIRTUAL_HOST, in the resource or in a wrapper around it", i.describe())
	case i.name != own && own != "" && i.kind.url != resource.VirtualHostType:
		return fmt.Errorf("serve %s: the wrapper's name differs from the resource's own name %q", i.describe(), own)
	}
	return nil
}

// wrapperType is the message around a resource that tells its name.
const wrapperType = resource.APITypePrefix + "envoy.service.discovery.v3.Resource"

// hostAliases are the names by which clients ask for a virtual host on demand: the route configuration and the domain.
func (i *item) hostAliases(v *routev3.VirtualHost) []string {
	routes := i.name[:strings.LastIndex(i.name, "/")+1]
	var out []string
	for _, d := range v.GetDomains() {
		out = append(out, routes+strings.ToLower(d))
	}
	return out
}

// pack encodes the resource.
func (i *item) pack(m proto.Message, own string) error {
	content, err := cache.MarshalResource(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", i.describe(), err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d\n", i.kind.url, i.name, i.aliases, len(content))
	_, _ = h.Write(content) // never fails
	copy(i.sum[:], h.Sum(nil))
	i.version = hex.EncodeToString(i.sum[:8])
	i.body = &anypb.Any{TypeUrl: i.kind.url, Value: content}
	i.bare = i.body
	if own == i.name {
		return nil
	}
	i.bare = new(anypb.Any)
	if err := anypb.MarshalFrom(i.bare, i.delta(nil), proto.MarshalOptions{Deterministic: true}); err != nil {
		return fmt.Errorf("encode %s: %w", i.describe(), err)
	}
	return nil
}

// delta is the item as the incremental protocol sends it. asked are names by which the client asked; they are among the
// aliases then, as an answer to a request on demand must be.
func (i *item) delta(asked []string) *discoveryv3.Resource {
	r := &discoveryv3.Resource{Name: i.name, Version: i.version, Aliases: i.aliases, Resource: i.body}
	for _, name := range asked {
		if name != i.name && !slices.Contains(r.Aliases, name) {
			r.Aliases = append(slices.Clip(r.Aliases), name)
		}
	}
	return r
}
