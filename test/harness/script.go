package harness

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Script is an xDS server of the incremental protocol that a test has every word of: which resources it sends by itself and
// which only who asks for them by name, and whether it answers at all. It serves all services alike.
type Script struct {
	t  testing.TB
	mu sync.Mutex
	// items are by type and name.
	items   map[string]map[string]*ScriptItem
	streams map[*scriptStream]bool
	asked   []string
	refused []string
	silent  bool
	version int
}

// ScriptItem is a resource of a Script.
type ScriptItem struct {
	Message proto.Message
	Aliases []string
	// Announced resources are sent to those who ask for all, too.
	Announced bool
	version   string
}

// scriptStream is a stream of a client.
type scriptStream struct {
	grpc.ServerStream
	names map[string]map[string]bool // by type
	all   map[string]bool
	first map[string]bool // types that were asked for
	nonce int
}

// Script starts a server at an address of the host.
func (h *Host) Script(addr string) *Script {
	h.t.Helper()
	s := &Script{t: h.t, items: map[string]map[string]*ScriptItem{}, streams: map[*scriptStream]bool{}}
	l := h.Listen(addr)
	server := grpc.NewServer(grpc.UnknownServiceHandler(s.serve))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(l); err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(func() {
		server.Stop()
		wg.Wait()
	})
	return s
}

// Silence makes the server answer nothing from here on; false makes it answer again, to new questions.
func (s *Script) Silence(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = silent
}

// Put adds or changes a resource and tells those who want it.
func (s *Script) Put(name string, item ScriptItem) {
	s.t.Helper()
	typeURL := "type.googleapis.com/" + string(item.Message.ProtoReflect().Descriptor().FullName())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	item.version = fmt.Sprint(s.version)
	if s.items[typeURL] == nil {
		s.items[typeURL] = map[string]*ScriptItem{}
	}
	s.items[typeURL][name] = &item
	for x := range s.streams {
		if x.wants(typeURL, name, &item) {
			s.send(x, typeURL, []*discoveryv3.Resource{s.resource(name, &item)}, nil)
		}
	}
}

// Remove takes a resource away and tells those who want it.
func (s *Script) Remove(message proto.Message, name string) {
	typeURL := "type.googleapis.com/" + string(message.ProtoReflect().Descriptor().FullName())
	s.mu.Lock()
	defer s.mu.Unlock()
	item := s.items[typeURL][name]
	if item == nil {
		s.t.Errorf("there is no %s to remove", name)
		return
	}
	delete(s.items[typeURL], name)
	for x := range s.streams {
		if x.wants(typeURL, name, item) {
			s.send(x, typeURL, nil, []string{name})
		}
	}
}

// Asked lists what was subscribed to as "+Type name" and given up as "-Type name", in order; "*" is all.
func (s *Script) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Refused lists the reasons of what was rejected.
func (s *Script) Refused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refused)
}

func (s *Script) serve(_ any, stream grpc.ServerStream) error {
	x := &scriptStream{stream, map[string]map[string]bool{}, map[string]bool{}, map[string]bool{}, 0}
	s.mu.Lock()
	s.streams[x] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, x)
		s.mu.Unlock()
	}()
	for {
		r := &discoveryv3.DeltaDiscoveryRequest{}
		if err := stream.RecvMsg(r); err != nil {
			return nil // the client has gone
		}
		s.mu.Lock()
		s.answer(x, r)
		s.mu.Unlock()
	}
}

// answer takes a request. Called with mu held.
func (s *Script) answer(x *scriptStream, r *discoveryv3.DeltaDiscoveryRequest) {
	t := r.TypeUrl
	short := t[strings.LastIndexByte(t, '.')+1:]
	if r.ErrorDetail != nil {
		s.refused = append(s.refused, r.ErrorDetail.Message)
	}
	if x.names[t] == nil {
		x.names[t] = map[string]bool{}
	}
	for _, n := range r.ResourceNamesUnsubscribe {
		delete(x.names[t], n)
		s.asked = append(s.asked, "-"+short+" "+n)
	}
	subscribe := r.ResourceNamesSubscribe
	if !x.first[t] && len(subscribe) == 0 {
		subscribe = []string{"*"}
	}
	x.first[t] = true
	if len(subscribe) == 0 {
		return
	}
	var resources []*discoveryv3.Resource
	var missing []string
	for _, n := range subscribe {
		s.asked = append(s.asked, "+"+short+" "+n)
		if n == "*" {
			x.all[t] = true
		} else {
			x.names[t][n] = true
		}
		found := false
		for name, item := range s.items[t] {
			if n == "*" && item.Announced || n != "*" && matches(n, name, item) {
				resources, found = append(resources, s.resource(name, item)), true
			}
		}
		switch {
		case found || n == "*" || strings.HasSuffix(n, "/*"):
		case short == "VirtualHost": // nothing has this alias
			resources = append(resources, &discoveryv3.Resource{Name: n, Aliases: []string{n}})
		default:
			missing = append(missing, n)
		}
	}
	s.send(x, t, resources, missing)
}

func (s *Script) resource(name string, item *ScriptItem) *discoveryv3.Resource {
	body, err := anypb.New(item.Message)
	if err != nil {
		s.t.Error(err)
	}
	return &discoveryv3.Resource{Name: name, Version: item.version, Resource: body, Aliases: item.Aliases}
}

func (s *Script) send(x *scriptStream, typeURL string, resources []*discoveryv3.Resource, removed []string) {
	if s.silent {
		return
	}
	x.nonce++
	err := x.SendMsg(&discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: typeURL, Nonce: fmt.Sprint(x.nonce), SystemVersionInfo: fmt.Sprint(s.version), Resources: resources, RemovedResources: removed,
	})
	if err != nil {
		s.t.Log("send: ", err) // the client has gone
	}
}

func (x *scriptStream) wants(typeURL, name string, item *ScriptItem) bool {
	if x.all[typeURL] && item.Announced {
		return true
	}
	for n := range x.names[typeURL] {
		if matches(n, name, item) {
			return true
		}
	}
	return false
}

// matches tells whether a subscription is for a resource: by its name, an alias, or as one of a glob collection.
func matches(subscription, name string, item *ScriptItem) bool {
	if glob, ok := strings.CutSuffix(subscription, "*"); ok && strings.HasPrefix(name, glob) {
		return true
	}
	return subscription == name || slices.Contains(item.Aliases, subscription)
}
