package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// SourcesOptions configure Sources.
type SourcesOptions struct {
	// ADS is the aggregated stream of the bootstrap; nil when there is none.
	ADS *model.APISource
	// Authorities say where resources with xdstp names of an authority come from, whatever their reference says.
	Authorities map[string]*model.Source
	// NodeContext are context parameters that each xdstp name gets.
	NodeContext map[string]string
	// Dial returns the channel to a gRPC service. It is called for each stream, and who gives it owns the channels.
	Dial func(service model.GRPCService) (grpc.ClientConnInterface, error)
	// HTTP returns what reaches a cluster by HTTP, for REST. It is called for each request, and who gives it owns it.
	HTTP    func(cluster string) (http.RoundTripper, error)
	Node    func() *corev3.Node
	Handler Handler
	Log     *slog.Logger
	// Stats is the root scope, for control_plane.*; nil counts nowhere.
	Stats *stats.Scope
	// Watch follows the files of path sources; nil reads them but once.
	Watch *filewatch.Watcher
	// RejectUnknown refuses files with fields that weir does not know (--reject-unknown-dynamic-fields).
	RejectUnknown bool
}

// Sources deliver resources from wherever configuration sources say: the aggregated stream, a stream per management
// server and type, or files. What is asked for before Start is asked of the sources once they run.
//
// The handler is never called from within a method of Sources, so a caller may hold locks that the handler takes.
type Sources struct {
	opt   SourcesOptions
	wg    sync.WaitGroup
	names *names

	mu sync.Mutex
	// begin runs a feed until the returned function or Close; nil while the sources do not run.
	begin  func(feed) context.CancelFunc
	stop   context.CancelFunc
	closed bool
	ads    *Mux
	// feeds are the other sources in use, by what tells them apart.
	feeds map[string]*entry
}

// feed is a source of resources of its own: a Mux or a file.
type feed interface {
	SubscribeAll(typeURL string)
	Subscribe(typeURL, name string)
	Unsubscribe(typeURL, name string)
	Run(ctx context.Context)
}

var (
	_ feed = (*Mux)(nil)
	_ feed = (*file)(nil)
)

// entry is a feed with its subscriptions; the last one that goes ends it.
type entry struct {
	feed feed
	// wants are the subscribed names. The empty one is for all, as often as that was asked for.
	wants map[string]int
	// stop is nil until the feed runs.
	stop context.CancelFunc
}

// NewSources returns sources that do nothing until Start.
func NewSources(opt SourcesOptions) *Sources {
	s := &Sources{opt: opt, names: newNames(opt), feeds: map[string]*entry{}}
	s.opt.Handler = s.names.handler(opt.Handler)
	(&Limit{}).count(opt.Stats) // these statistics are there without a limit, too
	if opt.ADS == nil {
		return s
	}
	if len(opt.ADS.Services) == 0 { // REST has none either
		opt.Log.Error("ads_config is not supported: it must be GRPC or DELTA_GRPC with a gRPC service", "type", opt.ADS.Type)
		return s
	}
	s.ads = s.mux(opt.ADS, "", s.opt.Handler)
	return s
}

// Start runs the sources until Close, or until ctx ends. It is called once.
func (s *Sources) Start(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.begin != nil {
		return
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.begin = func(f feed) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		s.wg.Go(func() { f.Run(ctx) })
		return cancel
	}
	if s.ads != nil {
		s.begin(s.ads) // ends with ctx
	}
	for _, e := range s.feeds {
		e.stop = s.begin(e.feed)
	}
}

// Close ends all sources and waits for them, a call of the handler included. It must not be called from the handler.
func (s *Sources) Close() {
	s.mu.Lock()
	s.closed, s.begin = true, nil
	if s.stop != nil {
		s.stop()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// SubscribeAll asks for all resources of a type, or for those of the source's collection.
func (s *Sources) SubscribeAll(src *model.Source, typeURL string) {
	if src.Collection != "" {
		s.Subscribe(src, typeURL, src.Collection)
		return
	}
	s.change(src, typeURL, func(f feed, wants map[string]int) {
		wants[""]++
		f.SubscribeAll(typeURL)
	})
}

// Subscribe asks for a resource by name.
func (s *Sources) Subscribe(src *model.Source, typeURL, name string) {
	src, canonical := s.names.resolve(src, typeURL, name)
	s.change(src, typeURL, func(f feed, wants map[string]int) {
		wants[canonical] = 1
		f.Subscribe(typeURL, canonical)
	})
}

// UnsubscribeAll takes one SubscribeAll back. A stream of the source's own ends with its last subscription; others go on.
func (s *Sources) UnsubscribeAll(src *model.Source, typeURL string) {
	if src.Collection != "" {
		s.Unsubscribe(src, typeURL, src.Collection)
		return
	}
	s.change(src, typeURL, func(_ feed, wants map[string]int) {
		if wants[""]--; wants[""] <= 0 {
			delete(wants, "")
		}
	})
}

// Unsubscribe tells that a resource is not wanted any more.
func (s *Sources) Unsubscribe(src *model.Source, typeURL, name string) {
	src, canonical := s.names.resolve(src, typeURL, name)
	s.change(src, typeURL, func(f feed, wants map[string]int) {
		delete(wants, canonical)
		f.Unsubscribe(typeURL, canonical)
	})
	s.names.forget(typeURL, canonical)
}

// change applies a change to the feed that src names, and starts or ends that feed as needed.
func (s *Sources) change(src *model.Source, typeURL string, apply func(feed, map[string]int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src.Kind == model.SourceADS || src.Kind == model.SourceSelf {
		if s.ads == nil {
			s.opt.Log.Error("no source for a resource: the bootstrap has no ads_config that works", "type", typeURL)
			return
		}
		apply(s.ads, map[string]int{})
		return
	}
	id := identity(src, typeURL)
	e := s.feeds[id]
	if e == nil {
		f, err := s.feed(src, typeURL)
		if err != nil {
			s.opt.Log.Error("no source for a resource", "type", typeURL, "error", err)
			return
		}
		e = &entry{feed: f, wants: map[string]int{}}
		s.feeds[id] = e
	}
	apply(e.feed, e.wants)
	switch {
	case len(e.wants) == 0:
		delete(s.feeds, id)
		if e.stop != nil {
			e.stop()
		}
	case e.stop == nil && s.begin != nil:
		e.stop = s.begin(e.feed)
	}
}

// identity tells feeds apart.
func identity(src *model.Source, typeURL string) string { return src.ID() + " " + typeURL }

// from tells the handler which source it is told of.
type from struct {
	Handler
	source string
}

// Update implements Handler.
func (f from) Update(ctx context.Context, u Update) error {
	u.Source = f.source
	return f.Handler.Update(ctx, u)
}

// Attempt implements Handler.
func (f from) Attempt(a Asked) {
	a.Source = f.source
	f.Handler.Attempt(a)
}

// Failure implements Handler.
func (f from) Failure(a Asked, err error) {
	a.Source = f.source
	f.Handler.Failure(a, err)
}

// feed makes the source that src names.
func (s *Sources) feed(src *model.Source, typeURL string) (feed, error) {
	handler := Handler(from{s.opt.Handler, src.ID()})
	if src.Kind == model.SourcePath {
		return newFile(fileOptions{
			path: src.Path, directory: src.WatchedDirectory, typeURL: typeURL,
			handler: handler, log: s.opt.Log, watch: s.opt.Watch, rejectUnknown: s.opt.RejectUnknown,
		}), nil
	}
	if src.Kind != model.SourceAPI || src.API == nil {
		return nil, fmt.Errorf("unknown kind %d of config source", src.Kind)
	}
	served, ok := serviceOf(typeURL)
	if !ok {
		return nil, errors.New("there is no discovery service for this type")
	}
	if src.API.Type == model.APIREST {
		return s.rest(src.API, served, handler)
	}
	if len(src.API.Services) == 0 {
		return nil, errors.New("api_config_source has no gRPC service")
	}
	only := typeURL
	if src.API.Type.Aggregated() {
		only = ""
	} else if served.method(src.API.Type.Delta()) == "" {
		return nil, errors.New("this type is served by the delta protocol only")
	}
	if s.ads != nil {
		handler = quiet{handler}
	}
	return s.mux(src.API, only, handler), nil
}

// rest makes the poller of a REST server.
func (s *Sources) rest(api *model.APISource, served service, handler Handler) (feed, error) {
	switch {
	case len(api.Clusters) == 0:
		return nil, errors.New("api_config_source has no cluster_names")
	case served.rest == "":
		return nil, errors.New("this type is not served by REST")
	}
	opt := restOptions{
		service: served, refresh: api.RefreshDelay, timeout: api.RequestTimeout,
		node: s.opt.Node, handler: quiet{handler}, log: s.opt.Log,
	}
	for _, name := range api.Clusters {
		opt.servers = append(opt.servers, RESTServer{Name: name, Transport: func() (http.RoundTripper, error) { return s.opt.HTTP(name) }})
	}
	return newREST(opt), nil
}

// quiet keeps a stream beside the aggregated one from speaking for the connection to the control plane.
type quiet struct{ Handler }

// Connected does nothing.
func (quiet) Connected(bool, string) {}

// mux makes the Mux of a management server; only is the type that it serves, empty for the aggregated service.
func (s *Sources) mux(api *model.APISource, only string, handler Handler) *Mux {
	opt := Options{
		Type: only, Delta: api.Type.Delta(), NodeOnce: api.NodeOnFirstMessageOnly,
		Node: s.opt.Node, Handler: handler, Log: s.opt.Log,
	}
	if r := api.RateLimit; r != nil {
		opt.Limit = NewLimit(r.MaxTokens, r.FillRate)
		opt.Limit.count(s.opt.Stats)
	}
	for _, g := range api.Services {
		opt.Servers = append(opt.Servers, s.server(g))
	}
	return NewMux(opt)
}

func (s *Sources) server(g model.GRPCService) Server {
	out := Server{
		Name:       g.Name(),
		Dial:       func() (grpc.ClientConnInterface, error) { return s.opt.Dial(g) },
		MaxMessage: int(g.MaxReceiveMessageLength),
	}
	if g.BackOffBase > 0 {
		out.Backoff = Backoff{Base: g.BackOffBase, Max: max(g.BackOffMax, g.BackOffBase)}
	}
	for _, m := range g.InitialMetadata {
		if out.Metadata == nil {
			out.Metadata = metadata.MD{}
		}
		out.Metadata.Append(m.Name, m.Value)
	}
	return out
}
