package xds

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxBody bounds the answer of a REST server, which is held in memory as a whole.
const maxBody = 1 << 30

// RESTServer is one server of REST discovery.
type RESTServer struct {
	// Name is that of the cluster, which is the Host of the requests.
	Name string
	// Transport reaches it. It is called for each request.
	Transport func() (http.RoundTripper, error)
}

type restOptions struct {
	// servers in order of preference, at least one; any failure makes the next one's turn.
	servers []RESTServer
	service service
	// refresh is the time between two requests, timeout bounds each.
	refresh, timeout time.Duration
	node             NodeFunc
	handler          Handler
	log              *slog.Logger
}

// rest polls the resources of one type (ApiConfigSource.REST): a DiscoveryRequest in JSON, a DiscoveryResponse in JSON, or
// status 304 when nothing changed since version_info.
type rest struct {
	opt  restOptions
	kick chan struct{} // one slot: the set of names changed

	mu       sync.Mutex
	wildcard bool
	names    map[string]bool

	// version is the last accepted one, rejected the reason to reject the last response, complaint the last failure. They
	// belong to Run.
	version   string
	rejected  error
	complaint string
}

var _ feed = (*rest)(nil)

func newREST(opt restOptions) *rest {
	return &rest{opt: opt, kick: make(chan struct{}, 1), names: map[string]bool{}}
}

// SubscribeAll asks for all resources.
func (r *rest) SubscribeAll(string) {
	r.change(func() bool {
		before := r.wildcard
		r.wildcard = true
		return !before
	})
}

// Subscribe asks for a resource by name.
func (r *rest) Subscribe(_, name string) {
	r.change(func() bool {
		before := r.names[name]
		r.names[name] = true
		return !before
	})
}

// Unsubscribe tells that a resource is not wanted any more. The next request says so; none is made for it.
func (r *rest) Unsubscribe(_, name string) {
	r.change(func() bool {
		delete(r.names, name)
		return false
	})
}

func (r *rest) change(apply func() bool) {
	r.mu.Lock()
	more := apply()
	r.mu.Unlock()
	if !more {
		return
	}
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Run polls until ctx ends: at once, when a name was added, and whenever the delay is over, to which up to a tenth is added
// at random so that a fleet does not ask in step.
func (r *rest) Run(ctx context.Context) {
	turn := 0
	// fresh asks without a version, so that the server cannot answer that nothing changed: after names were added, and of
	// another server than the last one.
	fresh := true
	for {
		select {
		case <-r.kick: // the request that follows asks for it, too
			fresh = true
		default:
		}
		server := &r.opt.servers[turn%len(r.opt.servers)]
		err := r.poll(ctx, server, fresh)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.failed(server, err)
			turn++
		}
		fresh = err != nil && (fresh || len(r.opt.servers) > 1)
		wait := r.opt.refresh + time.Duration(rand.Float64()*float64(r.opt.refresh)/10)
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
			fresh = true
		case <-time.After(wait):
		}
	}
}

// failed reports a request without an answer to use. What goes wrong again and again is logged once.
func (r *rest) failed(server *RESTServer, err error) {
	level := slog.LevelWarn
	if err.Error() == r.complaint {
		level = slog.LevelDebug
	}
	r.complaint = err.Error()
	r.opt.log.Log(context.Background(), level, "xDS request was not answered with resources", "server", server.Name, "type", r.opt.service.typeURL, "error", err)
	r.opt.handler.Failure(r.asked(), err)
}

// asked are the subscriptions that a request is for.
func (r *rest) asked() Asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Asked{Type: r.opt.service.typeURL, All: r.wildcard, Names: slices.Collect(maps.Keys(r.names))}
}

// poll makes one request and applies its answer.
func (r *rest) poll(ctx context.Context, server *RESTServer, fresh bool) error {
	q := r.request(fresh)
	if q == nil {
		return nil
	}
	r.opt.handler.Attempt(r.asked())
	text, err := r.ask(ctx, server, q)
	if err != nil || text == nil {
		return err
	}
	response, unknown, err := decodeREST(text)
	if err != nil {
		return err
	}
	if t := response.GetTypeUrl(); t != "" && t != r.opt.service.typeURL {
		return fmt.Errorf("%s: %w: it has resources of type %s", server.Name, ErrUnreadable, t)
	}
	response.TypeUrl = r.opt.service.typeURL
	if id := response.GetControlPlane().GetIdentifier(); id != "" {
		r.opt.handler.Connected(true, id)
	}
	u := sotwUpdate(response)
	for i := range unknown {
		u.Resources[i].Unknown = unknown[i]
	}
	r.rejected = r.opt.handler.Update(ctx, u)
	if r.complaint = ""; r.rejected == nil {
		r.version = response.GetVersionInfo()
	}
	return nil
}

// request is what is to be asked now; nil when nothing is.
func (r *rest) request(fresh bool) *discoveryv3.DiscoveryRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.wildcard && len(r.names) == 0 {
		return nil
	}
	q := &discoveryv3.DiscoveryRequest{
		TypeUrl: r.opt.service.typeURL, VersionInfo: r.version, Node: r.opt.node(), ErrorDetail: errorDetail(r.rejected),
	}
	if fresh {
		q.VersionInfo = ""
	}
	if !r.wildcard {
		q.ResourceNames = sorted(r.names)
	}
	return q
}

// ask sends a request and returns the text of the answer, which is nil when nothing changed.
func (r *rest) ask(ctx context.Context, server *RESTServer, q *discoveryv3.DiscoveryRequest) ([]byte, error) {
	// Envoy keeps the names of the proto files, too.
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encode discovery request: %w", err)
	}
	transport, err := server.Transport()
	if err != nil {
		return nil, fmt.Errorf("reach control plane %s: %w", server.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.opt.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+server.Name+r.opt.service.rest, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask control plane %s: %w", server.Name, err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("ask control plane %s: %w", server.Name, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(http.MaxBytesReader(nil, answer.Body, maxBody)) // not nil, even if it is empty
	switch {
	case err != nil:
		return nil, fmt.Errorf("read answer of control plane %s: %w", server.Name, err)
	case answer.StatusCode == http.StatusNotModified:
		return nil, nil
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("control plane %s answered with status %d: %s", server.Name, answer.StatusCode, excerpt(text))
	}
	return text, nil
}

// excerpt is the beginning of an error's body, on one line.
func excerpt(text []byte) string {
	return fmt.Sprintf("%q", text[:min(len(text), 200)])
}
