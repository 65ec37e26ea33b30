// Package admin is the administration interface: Envoy's (v1.32) endpoints, bodies and formats over HTTP/1.1 and HTTP/2, on
// TCP or on a unix socket, and weir's own below /weir.
//
// It owns the endpoints, their formats, the redaction of secrets in what they print, and the CPU profile that they start. It
// must not know the proxy, the kernel side or the configuration store: what it shows and does comes through the interfaces in
// this file, which pkg/agent fulfils. Everything it is given must be safe for concurrent use, since requests run at the same
// time; it never holds a lock while it calls out. Its own state is the profiler's, behind a mutex.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// ServerInfo tells about the process. Messages are not written to.
type ServerInfo interface {
	// State is a name of admin.v3.ServerInfo.State: LIVE, DRAINING, PRE_INITIALIZING or INITIALIZING.
	State() string
	// Uptime is that of the process, UptimeAllEpochs that since the first one of which each took over from the one before.
	Uptime() time.Duration
	UptimeAllEpochs() time.Duration
	// HotRestartVersion is what a next process must agree upon to take over; "disabled" when none may.
	HotRestartVersion() string
	// Version in Envoy's five-part form.
	Version() string
	// Options and Node may be nil.
	Options() *adminv3.CommandLineOptions
	Node() *corev3.Node
}

// Clusters visits the clusters that serve and whose names keep is true for, in order of their names. It makes each one when it is
// asked for it, and holds no lock meanwhile.
type Clusters interface {
	Clusters(keep func(name string) bool) iter.Seq[Cluster]
}

// Cluster is one cluster with what the text form of /clusters shows beside its status.
type Cluster struct {
	Status *adminv3.ClusterStatus
	// Outlier is nil without outlier detection.
	Outlier *OutlierAverages
	// Canary tells which of Status's hosts are canaries; it may be shorter than the list of hosts.
	Canary []bool
}

// OutlierAverages are mean success rates in percent, -1 when there are too few hosts or requests.
type OutlierAverages struct {
	SuccessRate, LocalOriginSuccessRate float64
}

// Listeners lists the listeners that serve, with the addresses they are bound to.
type Listeners interface {
	Listeners() *adminv3.Listeners
}

// ConfigDump gives the sections of /config_dump in the order in which they are printed. They may share what others use; admin
// copies before it redacts.
type ConfigDump interface {
	ConfigDump(ConfigFilter) []Section
}

// Section is a message of admin.v3 (BootstrapConfigDump, ClustersConfigDump and so on) whose repeated fields come one element at a
// time: the whole of it may be larger than what memory there is.
type Section struct {
	// Message holds the singular fields.
	Message proto.Message
	// Lists are the repeated fields, in order of their numbers.
	Lists []List
}

// List is a repeated field of a section. Elements are made when they are asked for; no lock is held meanwhile.
type List struct {
	Field    string
	Elements iter.Seq[proto.Message]
}

// ClientStatus tells what this process has of each xDS resource, as a client of control planes does: static ones, those in force,
// those that are waited for and those that were rejected.
type ClientStatus interface {
	ClientStatus() iter.Seq[*statusv3.ClientConfig_GenericXdsConfig]
}

// ConfigFilter says what /config_dump is to hold.
type ConfigFilter struct {
	// Name keeps the resources it is true for; it is never nil.
	Name func(name string) bool
	// EDS adds the endpoints.
	EDS bool
}

// InitDump tells what still waits for something: one entry per waiting object. An entry that is for a listener says so in its
// name.
type InitDump interface {
	InitDump() *adminv3.UnreadyTargetsDumps
}

// Certificates lists the certificates in use.
type Certificates interface {
	Certificates() *adminv3.Certificates
}

// Runtime is the layered runtime.
type Runtime interface {
	// Layers in order; later ones win.
	Layers() []RuntimeLayer
	// Modify sets keys of the admin layer, or deletes those with an empty value. The error's text is the answer.
	Modify(values map[string]string) error
}

// RuntimeLayer is one layer of the runtime.
type RuntimeLayer struct {
	Name   string
	Values map[string]string
}

// Control changes the process. No method waits for what it starts.
type Control interface {
	// Quit ends the process.
	Quit()
	// DrainListeners closes the listeners: at once, or with graceful after the drain time; only inbound ones with inboundOnly;
	// with skipExit they drain and stay open.
	DrainListeners(graceful, inboundOnly, skipExit bool)
	// FailHealthcheck makes health checks of this proxy fail, or succeed again.
	FailHealthcheck(fail bool)
	ReopenLogs()
}

// Interception tells what the kernel side does. The status is printed as JSON by encoding/json; nil means that there is none.
type Interception interface {
	InterceptionStatus() any
}

// Explainer tells what would become of a connection, without making it.
type Explainer interface {
	// Explain answers the parameters of a request. The error is about them, one a line.
	Explain(params url.Values) (Explanation, error)
}

// Explanation is an answer. It is printed as JSON by encoding/json.
type Explanation interface {
	// Text is the answer for people.
	Text() string
}

// Access is what the access log learns of a finished request.
type Access struct {
	Start    time.Time
	Duration time.Duration
	Method   string
	// Path with the query, as it came.
	Path      string
	Protocol  string
	Authority string
	// RequestHeader and ResponseHeader are not to be written.
	RequestHeader, ResponseHeader http.Header
	Status                        int
	// Received and Sent are body bytes.
	Received, Sent int64
	// Remote and Local are the ends of the connection, the zero value for unix sockets.
	Remote, Local netip.AddrPort
}

// Options of a Server. Stats, Log, Server and Control are required; an endpoint whose interface is nil shows an empty list.
type Options struct {
	// Address to listen at; the port may be 0.
	Address netip.AddrPort
	// Pipe is the path of a unix socket instead, "@name" an abstract one. A socket file that nobody serves is replaced.
	Pipe string
	// Mode of the socket file; 0 leaves it to the umask.
	Mode fs.FileMode
	// SetSocketOptions prepares the listening socket, before it is bound and once it listens (late); nil does nothing.
	SetSocketOptions func(fd int, late bool) error
	// AddressPath is a file that the address is written to (--admin-address-path); "" writes none.
	AddressPath string
	// ProfilePath is where profiles are written; "" means Envoy's default, /var/log/envoy/envoy.prof.
	ProfilePath string
	// MutexTracing is --enable-mutex-tracing.
	MutexTracing bool
	// StatNamespaces are the custom namespaces of Prometheus names; see render.Options.
	StatNamespaces []string

	Stats        *stats.Store
	Log          *log.Registry
	Server       ServerInfo
	Control      Control
	Clusters     Clusters
	Listeners    Listeners
	ConfigDump   ConfigDump
	ClientStatus ClientStatus
	InitDump     InitDump
	Certificates Certificates
	Runtime      Runtime
	Interception Interception
	Connections  Connections
	Findings     Findings
	// Events answers /weir/events; nil has none.
	Events Events
	// Explainer answers /weir/explain; nil leaves that path unanswered.
	Explainer Explainer
	// AllowPath tells which paths are answered (bootstrap's admin.allow_paths); nil allows all.
	AllowPath func(path string) bool
	// FlushStats is called before statistics are shown (bootstrap's stats_flush_on_admin); nil does nothing.
	FlushStats func()
	// AccessLog is called after each request, by several goroutines at once; nil logs none. It must not keep the pointer.
	AccessLog func(*Access)
}

// Bounds on requests: whatever an operator or a control plane sends stays far below.
const (
	maxHeader   = 64 << 10
	maxBody     = 1 << 20
	headTimeout = 15 * time.Second
	readTimeout = time.Minute
	sendTimeout = 5 * time.Minute
	idleTimeout = time.Hour // Envoy's default for downstream connections
)

const defaultProfilePath = "/var/log/envoy/envoy.prof"

// Server is the administration interface at one address.
type Server struct {
	opt       Options
	log       *slog.Logger
	listener  net.Listener
	http      *http.Server
	endpoints map[string]*endpoint
	help      string
	index     *index
	metrics   metrics
	profiler  profiler
	lookups   atomic.Bool // whether lookups of statistics are recorded
	sameSite  *http.CrossOriginProtection
}

// New listens. Requests are answered once Run is called; Close must be called in any case.
func New(opt Options) (*Server, error) {
	if opt.Stats == nil || opt.Log == nil || opt.Server == nil || opt.Control == nil {
		return nil, errors.New("make admin interface: Stats, Log, Server and Control are required")
	}
	if opt.ProfilePath == "" {
		opt.ProfilePath = defaultProfilePath
	}
	s := &Server{opt: opt, log: opt.Log.Logger("admin"), endpoints: make(map[string]*endpoint), sameSite: http.NewCrossOriginProtection()}
	all := endpoints()
	for i := range all {
		s.endpoints[all[i].path] = &all[i]
	}
	s.help = helpText(all)
	var err error
	if s.index, err = newIndex(all); err != nil {
		return nil, fmt.Errorf("make admin index page: %w", err)
	}
	s.profiler.path = opt.ProfilePath
	if s.listener, err = listen(&opt); err != nil {
		return nil, fmt.Errorf("listen for admin interface: %w", err)
	}
	s.metrics = newMetrics(opt.Stats.Root())
	s.http = s.newHTTP()
	s.announce()
	return s, nil
}

func (s *Server) newHTTP() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s,
		Protocols:         protocols,
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      sendTimeout,
		IdleTimeout:       idleTimeout,
		ConnState:         s.metrics.connection,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Addr is the address that it listens at, with the actual port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run answers requests until Close, and then returns nil.
func (s *Server) Run() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin interface at %s: %w", addressText(s.Addr()), err)
	}
	return nil
}

// Close stops listening and waits for requests that are under way, until ctx ends; those left are then cut off, and the error
// is the context's. A CPU profile that still runs is finished. Close may be called more than once, and without Run.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	_ = s.listener.Close() // for a server that never ran; otherwise it is closed already
	if err != nil {
		_ = s.http.Close()
		err = fmt.Errorf("close admin interface: %w", err)
	}
	return errors.Join(err, s.profiler.stop())
}

var (
	_ http.Handler = (*Server)(nil)
	_ io.Writer    = (*reply)(nil)
)
