package harness

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes" // resources may hold any of them
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/controlplane"
)

// ControlPlane is an xDS server on a host that remembers what its clients said.
type ControlPlane struct {
	t      testing.TB
	host   *Host
	addr   string
	server *controlplane.Server
	stop   func()

	mu     sync.Mutex
	events []controlplane.Event
}

// ControlPlane starts an xDS server at an address of the host.
func (h *Host) ControlPlane(addr string) *ControlPlane {
	h.t.Helper()
	c := &ControlPlane{t: h.t, host: h, addr: addr}
	c.server = controlplane.New(controlplane.Options{Log: slog.New(slog.DiscardHandler), OnEvent: c.record})
	c.Start()
	h.t.Cleanup(func() { c.Stop() })
	return c
}

// Start serves, at the beginning or after Stop.
func (c *ControlPlane) Start() {
	c.t.Helper()
	l := c.host.Listen(c.addr)
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.server.Serve(ctx, l) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
}

// Stop ends all streams and stops listening, as the death of a control plane looks from outside.
func (c *ControlPlane) Stop() { c.stop() }

func (c *ControlPlane) record(e controlplane.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

// Events that have happened so far.
func (c *ControlPlane) Events() []controlplane.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]controlplane.Event(nil), c.events...)
}

// Set replaces the resources that are served.
func (c *ControlPlane) Set(resources ...proto.Message) {
	c.t.Helper()
	if err := c.server.SetResources(resources); err != nil {
		c.t.Fatal(err)
	}
}

// Await waits for an event.
func (c *ControlPlane) Await(what string, is func(controlplane.Event) bool) controlplane.Event {
	c.t.Helper()
	var found controlplane.Event
	Eventually(c.t, what, func() bool {
		for _, e := range c.Events() {
			if is(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// AwaitRejection waits until a client has rejected resources of a type, and returns its reason.
func (c *ControlPlane) AwaitRejection(resourceType string) string {
	c.t.Helper()
	return c.Await("rejection of "+resourceType, func(e controlplane.Event) bool {
		return e.Kind == controlplane.Rejected && e.Type == resourceType
	}).Err
}

// Resource decodes a resource that is written as YAML, as it would be in a bootstrap.
func Resource[M proto.Message](t testing.TB, into M, text string) M {
	t.Helper()
	if _, err := protoyaml.Decode([]byte(text), t.Name(), into, protoyaml.Options{SkipValidation: true}); err != nil {
		t.Fatalf("%v\n%s", err, strings.TrimSpace(text))
	}
	return into
}
