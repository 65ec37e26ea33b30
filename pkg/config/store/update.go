package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

var _ xds.Handler = (*Store)(nil)

// Update implements xds.Handler: it applies what is good and returns what is not, resource by resource.
func (s *Store) Update(_ context.Context, u xds.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := time.Now()
	b := &batch{store: s, update: u, now: start, seen: map[string]bool{}}
	if u.Refused != nil {
		return b.refuse()
	}
	s.deps.keep()
	known := b.take()
	s.deps.sweep()
	if !known {
		return fmt.Errorf("type %s is not supported", u.Type)
	}
	b.followed()
	s.withhold(u)
	s.publish()
	return b.result()
}

// take applies the resources; false when nothing is known of their type.
func (b *batch) take() bool {
	s := b.store
	switch b.update.Type {
	case xds.ClusterType:
		b.clusters()
		b.answerDemand()
	case xds.ListenerType:
		b.listeners()
	case xds.EndpointType:
		applyNamed(b, s.endpoints, &endpointv3.ClusterLoadAssignment{}, (*endpointv3.ClusterLoadAssignment).GetClusterName, b.translateEndpoints)
	case xds.RouteType:
		applyNamed(b, s.routes, &routev3.RouteConfiguration{}, (*routev3.RouteConfiguration).GetName, b.translateRoutes)
	case xds.SecretType:
		applyNamed(b, s.secrets, &secretv3.Secret{}, (*secretv3.Secret).GetName, b.translateSecret)
	case xds.FilterType:
		applyNamed(b, s.filters, &corev3.TypedExtensionConfig{}, (*corev3.TypedExtensionConfig).GetName, b.translateFilter)
	case xds.ScopedRouteType:
		b.scopes()
	case xds.VirtualHostType:
		b.hosts()
	case xds.LbEndpointType:
		b.endpoints()
	default:
		return false
	}
	return true
}

// followed tells the subscription to all resources of the type, if there is one, of the response.
func (b *batch) followed() {
	w := b.store.follows[b.update.Type]
	if w == nil {
		return
	}
	w.settled = true
	if w.timer != nil {
		w.timer.Stop()
	}
	b.tell(w)
	if len(b.errs) == 0 {
		b.store.versions[b.update.Type] = b.update.Version
	}
}

// refuse counts a response that is not looked at, and says why. As in Envoy, what waits for it goes on without.
func (b *batch) refuse() error {
	s, err := b.store, b.update.Refused
	s.opt.Log.Warn("rejected a response", "type", b.update.Type, "error", err)
	b.errs = append(b.errs, err)
	b.followed()
	told := map[string]bool{}
	for _, r := range b.update.Resources {
		if w := s.deps.wanted(b.update.Type, r.Name); w != nil && !told[r.Name] {
			told[r.Name] = true
			b.tell(w)
			s.deps.settle(w.key)
		}
	}
	s.publish()
	return err
}

// Connected implements xds.Handler.
func (s *Store) Connected(up bool, identifier string) {
	if up {
		s.metrics.connected.Set(1)
	} else {
		s.metrics.connected.Set(0)
	}
	if identifier != "" {
		s.metrics.identifier.Set(identifier)
	}
}

// batch is one response while it is applied.
type batch struct {
	store  *Store
	update xds.Update
	now    time.Time
	errs   []error
	// seen are the names that the response holds, good or bad; the empty one stands for resources that cannot be read.
	seen map[string]bool
}

func (b *batch) fail(name string, err error) {
	if name == "" {
		name = "a resource without a name"
	}
	b.errs = append(b.errs, fmt.Errorf("%s: %w", name, err))
	b.store.opt.Log.Warn("rejected a dynamic resource", "type", b.update.Type, "name", name, "error", err)
}

// result is the text of the NACK, worded as Envoy does where it has words.
func (b *batch) result() error {
	if len(b.errs) == 0 {
		return nil
	}
	err := errors.Join(b.errs...)
	switch b.update.Type {
	case xds.ClusterType:
		//lint:ignore ST1005 these are Envoy's words
		return fmt.Errorf("Error adding/updating cluster(s) %w", err)
	case xds.ListenerType:
		//lint:ignore ST1005 these are Envoy's words
		return fmt.Errorf("Error adding/updating listener(s) %w", err)
	case xds.ScopedRouteType:
		//lint:ignore ST1005 these are Envoy's words
		return fmt.Errorf("Error adding/updating scoped route(s): %w", err)
	}
	return err
}

// tell counts the response for a subscription.
func (b *batch) tell(w *want) {
	if w.stats == nil {
		return
	}
	if len(b.errs) > 0 {
		w.stats.rejected.Inc()
		w.stats.pushed()
		w.stats.failed()
		return
	}
	w.stats.accepted(b.update.Version, b.now, time.Since(b.now))
}

func (b *batch) meta(r xds.Resource) translate.Meta {
	return translate.Meta{Version: r.Version, Dynamic: true, UpdatedAt: b.now, Unknown: r.Unknown}
}

// decode unpacks and checks a resource into m, a message of the expected type.
func (b *batch) decode(r xds.Resource, m proto.Message) error {
	if err := b.unpack(r, m); err != nil {
		b.seen[""] = true
		return err
	}
	warnings, err := protoyaml.ValidateMessage(m, protoyaml.Options{AllowUnknown: !b.store.opt.RejectUnknown})
	if b.store.opt.RejectUnknown && len(r.Unknown) > 0 {
		return errors.Join(protoyaml.Errors(r.Unknown), err)
	}
	for _, w := range append(warnings, r.Unknown...) {
		if w.Code == protoyaml.CodeUnknownField {
			b.store.metrics.dynamicUnknown.Inc()
		}
		if !b.store.opt.IgnoreUnknown {
			b.store.opt.Log.Warn("unknown field in dynamic configuration", "type", b.update.Type, "name", r.PeekName(), "warning", w.Error())
		}
	}
	return err
}

// unpack reads a resource into m, a message of the expected type. Its errors are of type *unreadableError.
func (b *batch) unpack(r xds.Resource, m proto.Message) error {
	if r.Body.GetTypeUrl() != b.update.Type {
		return &unreadableError{fmt.Errorf("resource is a %s, not a %s", r.Body.GetTypeUrl(), b.update.Type)}
	}
	if err := r.Body.UnmarshalTo(m); err != nil {
		return &unreadableError{fmt.Errorf("decode resource: %w", err)}
	}
	return nil
}

// unreadableError tells of a resource that is no message of the type that it should be, so that its name is not to be relied on.
type unreadableError struct{ error }

func (e *unreadableError) Unwrap() error { return e.error }

// warn reports fields that have no effect: nothing is silently ignored.
func (b *batch) warn(warnings []translate.Warning) {
	for _, w := range warnings {
		if w.Code == translate.CodeUnsupported {
			b.store.metrics.unsupported.Inc()
		}
		if w.Code == translate.CodeUnknownField {
			continue // decode told of it
		}
		b.store.opt.Log.Warn("configuration without effect, or with another one", "warning", w.String())
	}
}

func (b *batch) clusters() {
	t := b.store.clusters
	for _, r := range b.update.Resources {
		if r.Body == nil {
			b.seen[r.Name] = true // a heart-beat keeps it
			continue
		}
		if name := r.PeekName(); !b.seen[name] && t.unchanged(b, name, r) {
			b.seen[name] = true
			continue
		}
		m := &clusterv3.Cluster{}
		err := b.decode(r, m)
		name := nameOf(m.GetName(), r.Name)
		if err == nil && b.seen[name] {
			err = fmt.Errorf("duplicate cluster %s found", name)
		}
		b.seen[name] = true
		if now := t.latest(name); err == nil && now != nil && now.Static {
			b.store.opt.Log.Warn("ignored a dynamic cluster: a static one has its name", "name", name)
			continue
		}
		if err != nil {
			b.reject(name, r, err, &t.slot(name).Failure)
			continue
		}
		v, warnings, err := b.store.opt.Translate.Cluster(m, b.meta(r))
		if err != nil {
			b.reject(name, r, err, &t.slot(name).Failure)
			continue
		}
		b.warn(warnings)
		existed := t.latest(name) != nil
		if b.store.putCluster(newEntry(v, v.Hash, r, b.now).warned(warnings)) {
			b.store.countConflicts("cluster "+name, v.FilterReferences())
			count(existed, b.store.metrics.clusterAdded.Inc, b.store.metrics.clusterModified.Inc)
		}
	}
	for _, name := range b.gone(b.store.followedClusters) {
		if t.dynamic(name) && t.remove(b.store.deps, name) {
			b.store.metrics.clusterRemoved.Inc()
		}
	}
}

// gone lists what the response removes, of the existing names.
func (b *batch) gone(existing func() []string) []string {
	if !b.update.Full {
		return b.update.Removed
	}
	if b.seen[""] {
		return nil // nobody knows which resources those are that cannot be read: what seems to be gone may be one of them
	}
	return slices.DeleteFunc(existing(), func(name string) bool { return b.seen[name] })
}

// reject records a bad resource: the one in force stays.
func (b *batch) reject(name string, r xds.Resource, err error, at **Failure) {
	*at = &Failure{Raw: r.Body, When: b.now, Details: err.Error(), Version: r.Version}
	b.fail(name, err)
}

// applyNamed applies a response of a type that is subscribed by name: absence changes nothing, unknown names are ignored.
func applyNamed[P proto.Message, M comparable](b *batch, t *table[M], prototype P, nameIn func(P) string,
	convert func(P, translate.Meta) (M, uint64, []translate.Warning, error),
) {
	for _, r := range b.update.Resources {
		if r.Body == nil || b.repeated(r) || keepNamed(b, t, r) {
			continue
		}
		if b.update.Type == xds.EndpointType && b.reassign(r) {
			continue
		}
		m := prototype.ProtoReflect().New().Interface().(P)
		err := b.decode(r, m)
		name := nameOf(nameIn(m), r.Name)
		w := b.store.deps.wanted(b.update.Type, name)
		if broken := (*unreadableError)(nil); w == nil && err != nil && (name == "" || errors.As(err, &broken)) {
			b.fail(name, err) // nobody knows whether it was asked for
			continue
		}
		if w == nil {
			b.store.opt.Log.Debug("ignored a resource that nothing asked for", "type", b.update.Type, "name", name)
			continue
		}
		if b.foreign(w) {
			b.store.opt.Log.Debug("ignored a resource that is wanted from another source", "type", b.update.Type, "name", name)
			continue
		}
		one := &batch{store: b.store, update: b.update, now: b.now}
		var v M
		var hash uint64
		var warnings []translate.Warning
		if err == nil {
			v, hash, warnings, err = convert(m, b.meta(r))
		}
		if err != nil {
			one.reject(name, r, err, &t.slot(name).Failure)
			b.errs = append(b.errs, one.errs...)
			one.tell(w)
			// As Envoy does: what waits for it goes on without, rather than for ever.
			b.store.deps.settle(key{b.update.Type, name})
			continue
		}
		b.warn(warnings)
		takeNamed(b, t, w, name, newEntry(v, hash, r, b.now).warned(warnings))
	}
	for _, name := range b.update.Removed {
		if !b.outlivesRemoval() {
			t.remove(b.store.deps, name)
		} else if w := b.store.deps.wanted(b.update.Type, name); w != nil {
			(&batch{store: b.store, update: b.update, now: b.now}).tell(w)
		}
		b.store.deps.settle(key{b.update.Type, name})
	}
}

// repeated tells of a further resource of the same name in a response of the state of the world. As in Envoy, the first one counts.
func (b *batch) repeated(r xds.Resource) bool {
	name := r.PeekName()
	if name == "" {
		return false
	}
	if b.seen[name] {
		b.store.opt.Log.Warn("ignored all but the first resource of a name in a response", "type", b.update.Type, "name", name)
		return true
	}
	b.seen[name] = true
	return false
}

// outlivesRemoval tells of endpoints, routes and secrets that a control plane calls removed: as in Envoy they stay in force until
// nothing refers to them, since control planes remove them along with, or ahead of, what does. What waits for them goes on without.
func (b *batch) outlivesRemoval() bool {
	switch b.update.Type {
	case xds.EndpointType, xds.RouteType, xds.SecretType:
		return !b.update.Expired
	}
	return false
}

// takeNamed puts in a new form of a resource that is subscribed by name, and counts its arrival.
func takeNamed[M comparable](b *batch, t *table[M], w *want, name string, e *Entry[M]) {
	if t.put(b.store.deps, name, e) && w.stats != nil {
		w.stats.configReload.Inc()
	}
	if !t.waits(name) {
		b.store.deps.settle(key{b.update.Type, name})
	} else if w.timer != nil {
		w.timer.Stop() // from here on it waits for others, which have timers of their own
	}
	b.store.arrived(w)
	(&batch{store: b.store, update: b.update, now: b.now}).tell(w)
}

func newEntry[M comparable](v M, hash uint64, r xds.Resource, now time.Time) *Entry[M] {
	return &Entry[M]{Value: v, Raw: r.Body, Version: r.Version, Updated: now, hash: hash, unknown: len(r.Unknown)}
}

// warned keeps what was found in a new entry, and returns that.
func (e *Entry[M]) warned(warnings []translate.Warning) *Entry[M] {
	e.Warnings = warnings
	return e
}

func nameOf(inBody, onWrapper string) string {
	if inBody != "" {
		return inBody
	}
	return onWrapper
}

func count(existed bool, added, modified func()) {
	if existed {
		modified()
		return
	}
	added()
}

// pack wraps a message for /config_dump; one that was decoded a moment ago cannot fail to encode.
func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		return &anypb.Any{TypeUrl: "type.googleapis.com/" + strings.TrimPrefix(string(m.ProtoReflect().Descriptor().FullName()), ".")}
	}
	return a
}
