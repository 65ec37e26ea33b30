package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/test/harness"
)

// puppet is a control plane that says nothing but what a test has it say, word by word, on any service and by either protocol. It
// remembers what it was told.
type puppet struct {
	t      *testing.T
	host   *harness.Host
	addr   string
	stop   func()
	mu     sync.Mutex
	nonces int
	said   []*told
	// lines are the open streams by the types that were asked for on them.
	lines map[string]grpc.ServerStream
}

// told is a request of either protocol.
type told struct {
	delta               bool
	typ, version, nonce string
	names, gone         []string
	held                map[string]string
	refused             string
	line                grpc.ServerStream
}

func startPuppet(t *testing.T, host *harness.Host) *puppet {
	t.Helper()
	return startPuppetAt(t, host, controlPlaneAddr)
}

func startPuppetAt(t *testing.T, host *harness.Host, addr string) *puppet {
	t.Helper()
	p := &puppet{t: t, host: host, addr: addr}
	p.start()
	t.Cleanup(func() { p.stop() })
	return p
}

// start listens, at the beginning or after stop.
func (p *puppet) start() {
	p.t.Helper()
	p.mu.Lock()
	p.lines = map[string]grpc.ServerStream{}
	p.mu.Unlock()
	server, l := grpc.NewServer(grpc.UnknownServiceHandler(p.serve)), p.host.Listen(p.addr)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	p.stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // it may not have begun to serve
			p.t.Error(err)
		}
	})
}

func (p *puppet) serve(_ any, line grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(line)
	delta := strings.Contains(method, "/Delta")
	for {
		x := &told{delta: delta, line: line}
		if delta {
			q := &discoveryv3.DeltaDiscoveryRequest{}
			if err := line.RecvMsg(q); err != nil {
				return nil // the client has gone
			}
			x.typ, x.nonce, x.names, x.gone, x.held = q.TypeUrl, q.ResponseNonce, q.ResourceNamesSubscribe, q.ResourceNamesUnsubscribe, q.InitialResourceVersions
			x.refused = q.ErrorDetail.GetMessage()
		} else {
			q := &discoveryv3.DiscoveryRequest{}
			if err := line.RecvMsg(q); err != nil {
				return nil // the client has gone
			}
			x.typ, x.version, x.nonce, x.names, x.refused = q.TypeUrl, q.VersionInfo, q.ResponseNonce, q.ResourceNames, q.ErrorDetail.GetMessage()
		}
		p.mu.Lock()
		p.said, p.lines[x.typ] = append(p.said, x), line
		p.mu.Unlock()
	}
}

// await waits for a request, of those that came from the first on.
func (p *puppet) await(what string, is func(*told) bool) *told {
	p.t.Helper()
	var found *told
	harness.Eventually(p.t, what, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.IndexFunc(p.said, is); i >= 0 {
			found = p.said[i]
		}
		return found != nil
	})
	return found
}

// asked waits until a resource was asked for, "" being all, on a stream that is open.
func (p *puppet) asked(m proto.Message, name string) *told {
	p.t.Helper()
	return p.await("a request for "+name, func(x *told) bool {
		return x.typ == urlOf(m) && p.lines[x.typ] == x.line && (slices.Contains(x.names, name) || name == "" && len(x.names) == 0)
	})
}

// answered waits for what a response is answered with.
func (p *puppet) answered(nonce string) *told {
	p.t.Helper()
	return p.await("an answer to "+nonce, func(x *told) bool { return x.nonce == nonce })
}

// count tells how many requests were of a kind.
func (p *puppet) count(is func(*told) bool) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.said {
		if is(x) {
			n++
		}
	}
	return n
}

// say sends a message on the stream of a type, and returns its nonce.
func (p *puppet) say(typ string, make func(nonce string) proto.Message) string {
	p.t.Helper()
	p.mu.Lock()
	line := p.lines[typ]
	p.nonces++
	nonce := fmt.Sprintf("n%d", p.nonces)
	p.mu.Unlock()
	if line == nil {
		p.t.Fatalf("nobody asked for %s", typ)
	}
	if err := line.SendMsg(make(nonce)); err != nil {
		p.t.Fatal(err)
	}
	return nonce
}

// state says what there is of the state of the world, and returns the nonce. The type is that of of.
func (p *puppet) state(version string, of proto.Message, resources ...proto.Message) string {
	p.t.Helper()
	return p.say(urlOf(of), func(nonce string) proto.Message {
		r := &discoveryv3.DiscoveryResponse{TypeUrl: urlOf(of), VersionInfo: version, Nonce: nonce}
		for _, m := range resources {
			r.Resources = append(r.Resources, packed(p.t, m))
		}
		return r
	})
}

// change says what changes, and returns the nonce.
func (p *puppet) change(of proto.Message, removed []string, resources ...*discoveryv3.Resource) string {
	p.t.Helper()
	return p.say(urlOf(of), func(nonce string) proto.Message {
		return &discoveryv3.DeltaDiscoveryResponse{TypeUrl: urlOf(of), SystemVersionInfo: nonce, Nonce: nonce, Resources: resources, RemovedResources: removed}
	})
}

// as wraps a resource for change.
func (p *puppet) as(name, version string, m proto.Message) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Version: version, Resource: packed(p.t, m)}
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	if body, ok := m.(*anypb.Any); ok {
		return body
	}
	body, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func urlOf(m proto.Message) string {
	return "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
}

// puppetBootstrap follows the puppet on an aggregated stream that is made anew at once.
func puppetBootstrap(kind string) string {
	return harness.Bootstrap{
		Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More: "node: {id: e2e, cluster: test}\ndynamic_resources: {cds_config: " + adsSource + ", lds_config: " + adsSource + ", " + adsConfig(kind,
			"grpc_services: [{envoy_grpc: {cluster_name: xds, retry_policy: {retry_back_off: {base_interval: 0.05s, max_interval: 0.2s}}}}]") + "}",
	}.YAML()
}
