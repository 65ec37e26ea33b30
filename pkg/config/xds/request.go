package xds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxErrorDetail bounds the text of a NACK, which travels in a message of at most 4 MiB and is read by people.
const maxErrorDetail = 16 << 10

// request is a state-of-the-world or delta request under construction.
type request interface {
	setNode(*corev3.Node)
	message() proto.Message
}

type sotwRequest struct{ *discoveryv3.DiscoveryRequest }

func (r sotwRequest) setNode(n *corev3.Node) { r.Node = n }
func (r sotwRequest) message() proto.Message { return r.DiscoveryRequest }

type deltaRequest struct {
	*discoveryv3.DeltaDiscoveryRequest
}

func (r deltaRequest) setNode(n *corev3.Node) { r.Node = n }
func (r deltaRequest) message() proto.Message { return r.DeltaDiscoveryRequest }

// typesInOrder lists the types in the order requests leave. Called with mu held.
func (m *Mux) typesInOrder() []string {
	var types []string
	for _, s := range services {
		if m.types[s.typeURL] != nil {
			types = append(types, s.typeURL)
		}
	}
	var rest []string
	for t := range m.types {
		if !slices.Contains(types, t) {
			rest = append(rest, t)
		}
	}
	slices.Sort(rest)
	return append(types, rest...)
}

// requests returns what is to be said about a type now. Called with mu held.
func (m *Mux) requests(typeURL string, s *subscription) []request {
	s.ready = len(s.acks)
	if time.Now().Before(s.hold) { // a timer wakes the sender when the hold is over
		s.ready = max(0, s.ready-maxHeld)
	}
	if !s.dirty && s.ready == 0 {
		return nil
	}
	if !s.requested && !s.wildcard && len(s.names) == 0 {
		s.dirty, s.acks = false, nil
		return nil
	}
	next := s.sotwRequest
	if m.opt.Delta {
		next = s.deltaRequest
	}
	var out []request
	var recall []request
	if m.opt.Delta {
		recall = s.recall(typeURL)
	}
	if len(s.again) > 0 {
		// Asking for what is subscribed already says nothing to many a control plane: leave first, then ask.
		out = append(out, next(typeURL, func(n string) bool { return !s.again[n] }))
	}
	out = append(out, next(typeURL, func(string) bool { return true }))
	s.requested, s.dirty = true, false
	clear(s.again)
	s.changed = map[string]bool{} // not cleared: a map that was large once stays slow to look through
	for s.ready > 0 {
		out = append(out, next(typeURL, func(string) bool { return true }))
	}
	return append(out, recall...)
}

// sotwRequest asks for the names for which ask is true, and takes the ACK along if there is one.
func (s *subscription) sotwRequest(typeURL string, ask func(name string) bool) request {
	r := &discoveryv3.DiscoveryRequest{TypeUrl: typeURL, VersionInfo: s.version, ResponseNonce: s.nonce}
	if len(s.expired) > 0 {
		r.VersionInfo = "" // of the state of the world, that is how to ask for what is missed
	}
	if !s.wildcard {
		r.ResourceNames = slices.DeleteFunc(sorted(s.names), func(n string) bool { return !ask(n) })
	}
	s.sent = maps.Clone(s.names)
	if len(s.acks) > 0 { // held or not: a request with the last response's nonce says whether it is accepted
		r.ErrorDetail = errorDetail(s.acks[0].err)
	}
	s.acks, s.ready = nil, 0
	return sotwRequest{r}
}

// deltaRequest tells how the names for which ask is true differ from what the control plane was told, and takes the ACK
// along if one is ready.
func (s *subscription) deltaRequest(typeURL string, ask func(name string) bool) request {
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL}
	if s.ready > 0 {
		r.ResponseNonce = s.acks[0].nonce
		r.ErrorDetail = errorDetail(s.acks[0].err)
		s.acks = s.acks[1:]
		s.ready--
	}
	// An empty first subscription is the wildcard; names beside or before it need the explicit form.
	if s.wildcard && !s.all && (s.requested || len(s.names) > 0) {
		r.ResourceNamesSubscribe = []string{"*"}
	}
	s.all = s.wildcard
	if !s.requested {
		r.InitialResourceVersions = s.held()
	}
	for _, n := range sorted(s.changed) {
		switch wanted := s.names[n] && ask(n); {
		case wanted && !s.sent[n]:
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, n)
			s.sent[n] = true
		case !wanted && s.sent[n]:
			r.ResourceNamesUnsubscribe = append(r.ResourceNamesUnsubscribe, n)
			delete(s.sent, n)
		}
	}
	return deltaRequest{r}
}

// held are the versions of the resources that are still wanted, for the first request after a reconnection.
func (s *subscription) held() map[string]string {
	return maps.Clone(s.versions)
}

func errorDetail(err error) *statuspb.Status {
	if err == nil {
		return nil
	}
	text := err.Error()
	if len(text) > maxErrorDetail {
		text = text[:maxErrorDetail] + " ... (cut)"
	}
	text = strings.ToValidUTF8(text, "\uFFFD") // anything else would break the message, and with it the stream
	return &statuspb.Status{Code: int32(codes.InvalidArgument), Message: text}
}

func sorted(set map[string]bool) []string {
	names := make([]string, 0, len(set))
	for n := range set {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// sotwUpdate unwraps a state-of-the-world response; entries wrapped in a Resource carry name, version and TTL. One of heart-beats
// alone says nothing of resources that it lacks: those without a TTL need no heart-beat.
func sotwUpdate(r *discoveryv3.DiscoveryResponse) Update {
	u := Update{Type: r.TypeUrl, Version: r.VersionInfo, Resources: make([]Resource, 0, len(r.Resources))}
	for _, body := range r.Resources {
		u.Resources = append(u.Resources, unwrap(body, r.VersionInfo))
	}
	u.Full = len(u.Resources) == 0 || slices.ContainsFunc(u.Resources, func(r Resource) bool { return r.Body != nil })
	return u
}

// unwrap opens a Resource wrapper if body is one.
func unwrap(body *anypb.Any, version string) Resource {
	var w discoveryv3.Resource
	if body.MessageIs(&w) && body.UnmarshalTo(&w) == nil {
		return deltaResource(&w, version)
	}
	return Resource{Version: version, Body: body}
}

func deltaResource(w *discoveryv3.Resource, version string) Resource {
	if w.Version != "" {
		version = w.Version
	}
	if w.Name == "" {
		w.Name = w.GetResourceName().GetName()
	}
	return Resource{Name: w.Name, Aliases: w.Aliases, Version: version, Body: w.Resource, TTL: w.GetTtl().AsDuration()}
}

func deltaUpdate(r *discoveryv3.DeltaDiscoveryResponse) Update {
	u := Update{Type: r.TypeUrl, Version: r.SystemVersionInfo, Removed: r.RemovedResources, Resources: make([]Resource, 0, len(r.Resources))}
	for _, n := range r.RemovedResourceNames {
		u.Removed = append(u.Removed, n.GetName())
	}
	for _, w := range r.Resources {
		u.Resources = append(u.Resources, deltaResource(w, r.SystemVersionInfo))
	}
	u.Refused = u.contradiction()
	return u
}

// contradiction tells of a delta response that says two things of one resource. The words are Envoy's.
func (u *Update) contradiction() error {
	if len(u.Resources) < 2 && len(u.Removed) == 0 {
		return nil
	}
	here := make(map[string]bool, len(u.Resources))
	for i := range u.Resources {
		name := u.Resources[i].Name
		if here[name] {
			return fmt.Errorf("duplicate name %s found among added/updated resources", name)
		}
		here[name] = true
	}
	for _, name := range u.Removed {
		if here[name] {
			return fmt.Errorf("duplicate name %s found in the union of added+removed resources", name)
		}
	}
	return nil
}
