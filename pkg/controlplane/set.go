package controlplane

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// order is that of the types in which a change is told, as the xDS protocol asks for: make before break.
var order = []string{resource.ClusterType, resource.EndpointType, resource.ExtensionConfigType, resource.ListenerType, resource.RouteType, resource.SecretType}

// set is a consistent set of resources by type and name. It is not written once made.
type set struct {
	types map[string]map[string]types.Resource
}

// TypeSummary says what is served of one type.
type TypeSummary struct {
	// Type is the short name, such as Cluster; Version the hash of the content.
	Type, Version string
	// Names in order.
	Names []string
}

func emptySet() *set {
	s := &set{types: map[string]map[string]types.Resource{}}
	for _, t := range order {
		s.types[t] = map[string]types.Resource{}
	}
	return s
}

// newSet checks messages and returns the set that they make.
func newSet(messages []proto.Message) (*set, error) {
	s := emptySet()
	var errs []error
	for _, m := range messages {
		if err := s.add(m); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// add puts a resource into a set under construction.
func (s *set) add(m proto.Message) error {
	if m == nil {
		return errors.New("serve resource: it is nil")
	}
	kind := short(m)
	byName := s.types[resource.APITypePrefix+string(proto.MessageName(m))]
	if byName == nil {
		return fmt.Errorf("serve %s: only Listener, RouteConfiguration, Cluster, ClusterLoadAssignment, Secret and TypedExtensionConfig can be served", kind)
	}
	name := cache.GetResourceName(m)
	switch {
	case name == "":
		return fmt.Errorf("serve %s: it has no name", kind)
	case byName[name] != nil:
		return fmt.Errorf("serve %s %q: there is another one of that name", kind, name)
	}
	if _, err := protoyaml.ValidateMessage(m, protoyaml.Options{AllowUnknown: true}); err != nil {
		return fmt.Errorf("serve %s %q: %w", kind, name, err)
	}
	byName[name] = m
	return nil
}

func short(m proto.Message) string { return string(proto.MessageName(m).Name()) }

// snapshot is the form that the cache takes, each type with the hash of its content as its version.
func (s *set) snapshot() (*cache.Snapshot, error) {
	out := &cache.Snapshot{}
	for _, t := range order {
		version, err := versionOf(s.types[t])
		if err != nil {
			return nil, err
		}
		items := make(map[string]types.ResourceWithTTL, len(s.types[t]))
		for name, r := range s.types[t] {
			items[name] = types.ResourceWithTTL{Resource: r}
		}
		out.Resources[cache.GetResponseType(t)] = cache.Resources{Version: version, Items: items}
	}
	// The cache computes the versions of resources when a delta client comes, which would be a write to shared state.
	if err := out.ConstructVersionMap(); err != nil {
		return nil, fmt.Errorf("version resources: %w", err)
	}
	return out, nil
}

// versionOf is a hash over names and contents; it is not empty even where there is nothing.
func versionOf(resources map[string]types.Resource) (string, error) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		content, err := cache.MarshalResource(resources[name])
		if err != nil {
			return "", fmt.Errorf("encode %s %q: %w", short(resources[name]), name, err)
		}
		fmt.Fprintf(h, "%q %d\n", name, len(content))
		_, _ = h.Write(content) // never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), nil
}

// stages are the sets to serve one after the other on the way from old to next.
func stages(old, next *set) []*set {
	if old == nil {
		return []*set{next}
	}
	now := &set{types: maps.Clone(old.types)}
	var out []*set
	step := func(t string, resources map[string]types.Resource) {
		now = &set{types: maps.Clone(now.types)}
		now.types[t] = resources
		out = append(out, now)
	}
	for _, t := range order {
		// Clusters, endpoints and routes that are gone are still in use until the listeners and routes have changed.
		both := maps.Clone(next.types[t])
		if t != resource.ListenerType {
			for name, r := range old.types[t] {
				if both[name] == nil {
					both[name] = r
				}
			}
		}
		step(t, both)
	}
	for _, t := range order {
		if len(now.types[t]) != len(next.types[t]) {
			step(t, next.types[t])
		}
	}
	return append(out, next)
}

// dangling lists the endpoints and routes that clusters and listeners get over xDS and that are not in the set: clients
// would wait for them.
func (s *set) dangling() []string {
	var out []string
	for _, t := range []string{resource.ClusterType, resource.ListenerType} {
		items := make(map[string]types.ResourceWithTTL, len(s.types[t]))
		for name, r := range s.types[t] {
			items[name] = types.ResourceWithTTL{Resource: r}
		}
		for kind, names := range cache.GetResourceReferences(items) {
			for name := range names {
				if known := s.types[kind]; known != nil && known[name] == nil {
					out = append(out, shortType(kind)+" "+name)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *set) summary() []TypeSummary {
	var out []TypeSummary
	for _, t := range order {
		if len(s.types[t]) == 0 {
			continue
		}
		version, err := versionOf(s.types[t])
		if err != nil {
			version = "?" // what is served was encoded before
		}
		out = append(out, TypeSummary{Type: shortType(t), Version: version, Names: slices.Sorted(maps.Keys(s.types[t]))})
	}
	return out
}

// String counts the resources of each type, with the version.
func (s *set) String() string {
	var parts []string
	for _, t := range s.summary() {
		parts = append(parts, fmt.Sprintf("%d %s (%s)", len(t.Names), t.Type, t.Version))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
