package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/test/harness"
)

// traffic asks the plain listener over and over, and counts the answers that are not one of the backends'.
type traffic struct {
	mu       sync.Mutex
	answered int
	bad      []string
}

func startTraffic(t *testing.T, host *harness.Host) *traffic {
	t.Helper()
	x, client := &traffic{}, host.Client()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := ask(client)
			x.mu.Lock()
			if x.answered++; err != nil {
				x.bad = append(x.bad, err.Error())
			}
			x.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		close(stop)
		wg.Wait()
		if x.answered == 0 || len(x.bad) > 0 {
			t.Errorf("%d of %d requests were not served: %v", len(x.bad), x.answered, x.bad[:min(len(x.bad), 5)])
		}
	})
	return x
}

func ask(client *http.Client) error {
	resp, err := client.Get(plainURL)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(body)); resp.StatusCode != http.StatusOK || got != "one" && got != "two" {
		return fmt.Errorf("status %d: %s", resp.StatusCode, got)
	}
	return nil
}

// more waits until n more requests were served.
func (x *traffic) more(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.answered
	}
	before := count()
	harness.Eventually(t, "requests are served", func() bool { return count() >= before+n })
}

// prank is a control plane that does one thing to every stream.
type prank struct {
	name  string
	serve func(grpc.ServerStream) error
}

func pranks() []prank {
	stall := func(s grpc.ServerStream) error {
		<-s.Context().Done()
		return s.Context().Err()
	}
	garbage := func(bytes []byte) func(grpc.ServerStream) error {
		return func(s grpc.ServerStream) error {
			for range 20 {
				if err := s.SendMsg(raw(bytes)); err != nil {
					return err
				}
			}
			return stall(s)
		}
	}
	random := make([]byte, 4096)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	return []prank{
		{"stalls", stall},
		{"closes at once", func(grpc.ServerStream) error { return nil }},
		{"fails at once", func(grpc.ServerStream) error { return errors.New("no") }},
		{"sends random bytes", garbage(random)},
		{"sends empty messages", garbage(nil)},
		{"sends resources of unknown types", garbage(encode(&discoveryv3.DiscoveryResponse{TypeUrl: clusterURL, VersionInfo: "x", Nonce: "x", Resources: []*anypb.Any{{TypeUrl: "type.googleapis.com/no.Such", Value: random}}}))},
		{"sends clusters that are none", garbage(encode(&discoveryv3.DiscoveryResponse{TypeUrl: clusterURL, VersionInfo: "y", Nonce: "y", Resources: []*anypb.Any{{TypeUrl: clusterURL, Value: random}}}))},
		{"sends a type that nobody asked for", garbage(encode(&discoveryv3.DiscoveryResponse{TypeUrl: "type.googleapis.com/no.Such", VersionInfo: "z", Nonce: "z"}))},
	}
}

// TestControlPlaneGoesMad replaces the control plane by ones that do everything wrong, in turn. Traffic is served throughout,
// and weir follows a sane one when it comes back.
func TestControlPlaneGoesMad(t *testing.T) {
	t.Parallel()
	m := startMesh(t, "GRPC")
	x := startTraffic(t, m.host)
	x.more(t, 20)
	for _, p := range pranks() {
		t.Log(p.name)
		m.control.Stop()
		stop := servePrank(t, m.host, p)
		x.more(t, 50)
		stop()
	}
	m.control.Start()
	m.weights = [2]int{0, 100}
	m.control.Set(m.resources()...)
	harness.Eventually(t, "weir follows again", func() bool { return m.body(t) == "two" })
	if n := m.weir.Stat("control_plane.connected_state"); n != 1 {
		t.Errorf("connected_state %d", n)
	}
}

// servePrank serves a prank until stop; it waits until somebody fell for it.
func servePrank(t *testing.T, host *harness.Host, p prank) (stop func()) {
	t.Helper()
	fell := make(chan struct{}, 1)
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		select {
		case fell <- struct{}{}:
		default:
		}
		return p.serve(s)
	}))
	l := host.Listen(controlPlaneAddr)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-fell:
	case <-time.After(2 * harness.Patience):
		t.Fatalf("nobody came to the control plane that %s", p.name)
	}
	return stop
}

// TestControlPlaneFlips has a control plane go to and fro between two states, then take everything away and bring it back.
func TestControlPlaneFlips(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			x := startTraffic(t, m.host)
			for i := range 40 {
				m.weights = [2]int{100 * (i % 2), 100 * (1 - i%2)}
				if i%4 == 0 { // the endpoints move, too
					m.mesh.one, m.mesh.two = m.mesh.two, m.mesh.one
				}
				m.control.Set(m.resources()...)
				x.more(t, 3)
			}
			x.mu.Lock()
			served := len(x.bad) == 0
			x.mu.Unlock()
			if !served {
				t.Error("requests failed while the configuration flipped")
			}
		})
	}
}

func TestControlPlaneTakesEverythingAway(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			for range 3 {
				harness.Eventually(t, "weir serves", func() bool { return m.body(t) == "one" })
				m.control.Set()
				harness.Eventually(t, "weir serves no more", func() bool { return m.host.App().Curl(plainURL).Status != 0 })
				harness.Eventually(t, "everything is gone", func() bool {
					return m.weir.Stat("cluster_manager.active_clusters") == 1 && m.weir.Stat("listener_manager.total_listeners_active") == 0
				})
				m.control.Set(m.resources()...)
			}
			harness.Eventually(t, "weir serves again", func() bool { return m.body(t) == "one" })
			m.tlsAnswers(t, "one")
		})
	}
}

// TestControlPlaneDiesDuringWarming is what happens when a cluster waits for endpoints that the control plane does not live to
// send.
func TestControlPlaneDiesDuringWarming(t *testing.T) {
	t.Parallel()
	m := startMesh(t, "DELTA_GRPC")
	late := m.host.HTTPBackend("two", "127.0.0.1:0")
	x := startTraffic(t, m.host)
	m.control.Stop()
	m.mesh.two, m.weights = []netip.AddrPort{late.Addr}, [2]int{0, 100}
	m.control.Set(m.resources()...)
	x.more(t, 20)
	m.control.Start()
	harness.Eventually(t, "weir follows", func() bool { return m.body(t) == "two" })
	harness.Eventually(t, "the new endpoint serves", func() bool { return late.Count() > 0 })
}
