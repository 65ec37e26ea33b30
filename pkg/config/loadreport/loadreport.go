// Package loadreport tells a management server how much traffic each cluster has had (LRS, envoy.service.load_stats.v3): it
// keeps a stream to the server, and sends what changed since the last report whenever the interval that the server asked for is
// over.
//
// It owns the stream, the interval and what was reported before. It must not know how requests are counted: the counters of
// clusters and hosts are read through Clusters when a report is due, so that a request pays nothing for being reported. A Reporter
// has one goroutine, that of Run, and one below it that receives.
package loadreport

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Clusters are the clusters that are reported.
type Clusters interface {
	// Names of all clusters.
	Names() []string
	// Load is what a cluster and its hosts have counted so far; false when there is no such cluster.
	Load(name string) (Cluster, bool)
}

// Cluster is what a cluster has counted since it exists.
type Cluster struct {
	// Service is the name of the cluster's endpoints in EDS when that is another one; may be empty.
	Service string
	// Dropped counts the requests that were answered without asking a host: by circuit breakers, in maintenance mode, and by
	// drop_overloads, which DroppedBy counts by category.
	Dropped   uint64
	DroppedBy map[string]uint64
	// Hosts are the present ones.
	Hosts []Host
}

// Host is what a host has counted.
type Host struct {
	// Key tells hosts apart for as long as their counters go on.
	Key any
	// Address is invalid for a unix socket, which Pipe names.
	Address netip.AddrPort
	Pipe    string
	// Locality may be nil.
	Locality *model.Locality
	// Issued, Succeeded and Failed count requests, Active those under way.
	Issued, Succeeded, Failed uint64
	Active                    int64
}

// Options of a Reporter.
type Options struct {
	// Service is where reports go.
	Service model.GRPCService
	// Dial returns the channel to a gRPC service. It is called for each stream, and who gives it owns the channels.
	Dial func(service model.GRPCService) (grpc.ClientConnInterface, error)
	// Node is who reports; it is called for each stream, and the result is written to.
	Node     func() *corev3.Node
	Clusters Clusters
	// Stats is the root scope.
	Stats *stats.Scope
	Log   *slog.Logger
}

// sendAllClusters is the client feature that lets a server ask for all clusters.
const sendAllClusters = "envoy.lrs.supports_send_all_clusters"

// minInterval bounds how often reports are sent, whatever a server asks for.
const minInterval = 10 * time.Millisecond

// Reporter sends load reports.
type Reporter struct {
	opt                                  Options
	requests, responses, errors, retries *stats.Counter

	// asked is the last answer of the server, which outlives its stream; nil before the first.
	asked *loadv3.LoadStatsResponse
	// clusters are those that are reported at present.
	clusters map[string]*tracked
}

// New makes a reporter that does nothing until Run.
func New(opt Options) *Reporter {
	scope := opt.Stats.Scope("load_reporter")
	return &Reporter{
		opt: opt, clusters: map[string]*tracked{},
		requests: scope.Counter("requests"), responses: scope.Counter("responses"),
		errors: scope.Counter("errors"), retries: scope.Counter("retries"),
	}
}

// Run reports until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	for attempt := 0; ; attempt++ {
		answered, err := r.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		if answered {
			attempt = 0
		}
		if err != nil {
			r.errors.Inc()
			r.opt.Log.Warn("the stream of load reports ended; trying again", "server", r.opt.Service.Name(), "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(r.wait(attempt)):
		}
		r.retries.Inc()
	}
}

// wait is how long to wait before another attempt: full jitter over an interval that doubles.
func (r *Reporter) wait(attempt int) time.Duration {
	ceiling := max(r.opt.Service.BackOffMax, time.Millisecond)
	if d := r.opt.Service.BackOffBase << min(attempt, 20); d > 0 && d < ceiling {
		ceiling = d
	}
	return rand.N(ceiling) + time.Millisecond
}

// stream reports on one stream until it ends. It tells whether the server answered; a nil error is an orderly end.
func (r *Reporter) stream(ctx context.Context) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	channel, err := r.opt.Dial(r.opt.Service)
	if err != nil {
		return false, err
	}
	for _, m := range r.opt.Service.InitialMetadata {
		ctx = metadata.AppendToOutgoingContext(ctx, m.Name, m.Value)
	}
	st, err := loadv3.NewLoadReportingServiceClient(channel).StreamLoadStats(ctx)
	if err != nil {
		return false, err
	}
	answers, ended := make(chan *loadv3.LoadStatsResponse), make(chan error, 1)
	go receive(ctx, st, answers, ended)
	defer func() {
		cancel()
		for range answers { // until the receiver is gone
		}
	}()
	return r.talk(st, answers, ended)
}

// talk sends reports and takes answers until the stream ends.
func (r *Reporter) talk(
	st loadv3.LoadReportingService_StreamLoadStatsClient, answers <-chan *loadv3.LoadStatsResponse, ended <-chan error,
) (answered bool, err error) {
	node := r.node()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	timer.Stop()
	send := func() error {
		err := st.Send(&loadv3.LoadStatsRequest{Node: node, ClusterStats: r.report(time.Now())})
		r.responses.Inc()
		if r.asked != nil {
			timer.Reset(r.track())
		}
		return err
	}
	if err := send(); err != nil {
		return false, endOf(err, ended)
	}
	for {
		select {
		case err := <-ended:
			return answered, err
		case a, ok := <-answers:
			if !ok {
				return answered, <-ended
			}
			r.requests.Inc()
			r.asked, answered = a, true
			timer.Reset(r.track())
		case <-timer.C:
			if err := send(); err != nil {
				return answered, endOf(err, ended)
			}
		}
	}
}

// node is who reports.
func (r *Reporter) node() *corev3.Node {
	n := proto.CloneOf(r.opt.Node())
	if n == nil {
		n = &corev3.Node{}
	}
	n.ClientFeatures = append(n.ClientFeatures, sendAllClusters)
	return n
}
