// Package sinks ships statistics to where the bootstrap's stats_sinks say, once per flush interval.
//
// It owns the order of a flush: an interval of the store ends, every sink ships it, and only then the next one may end. It
// must not know any protocol: each sink is a package of its own that brings its configuration. It must not know how
// connections are made either; Deps gives them.
//
// Locking: Flusher is safe for concurrent use. Each sink is called from one goroutine at a time.
package sinks

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Sink ships statistics.
type Sink interface {
	// Flush ships an interval. The error says what could not be shipped; it is lost.
	Flush(ctx context.Context, f *Flush) error
	// Close ends connections. No Flush is under way or follows.
	Close()
}

// Flush is one interval of a store.
type Flush struct {
	Store *stats.Store
	// Start is when the process started, Last when the interval began and Now when it ended.
	Start, Last, Now time.Time
}

// Builder is the configuration of a sink.
type Builder interface {
	// Build makes the sink; nothing is connected yet. service is the gRPC service of the configuration, if it has one.
	Build(deps Deps, service model.GRPCService) Sink
}

// Deps are the connections that sinks are given.
type Deps struct {
	// DialAddress connects to an address: "udp" or "unixgram".
	DialAddress func(ctx context.Context, network, address string) (net.Conn, error)
	// DialCluster connects to a host of a cluster.
	DialCluster func(ctx context.Context, cluster string) (net.Conn, error)
	// GRPC gives the channel to a service.
	GRPC func(model.GRPCService) (grpc.ClientConnInterface, error)
	// Node is who we are.
	Node func() *corev3.Node
}

// Options of a Flusher.
type Options struct {
	Store *stats.Store
	Log   *slog.Logger
	// Dropped counts flushes that were due while the one before was under way (server.dropped_stat_flushes).
	Dropped *stats.Counter
	// Names are those of the sinks, for the log.
	Names []string
	Sinks []Sink
	// Timeout bounds a flush.
	Timeout time.Duration
	Start   time.Time
}

// Flusher ends intervals and lets sinks ship them. Make it with New, end it with Close.
type Flusher struct {
	opt    Options
	cancel context.CancelFunc
	due    chan *Flush // to the one goroutine that ships; holds one
	done   chan struct{}

	mu     sync.Mutex // guards what follows
	last   time.Time
	busy   bool
	closed bool
}

// New makes a flusher.
func New(o Options) *Flusher {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Flusher{opt: o, cancel: cancel, last: o.Start, due: make(chan *Flush, 1), done: make(chan struct{})}
	go f.run(ctx)
	return f
}

// Flush ends the interval, and ships it in the background if there are sinks. While the flush before is under way the
// interval goes on instead.
func (f *Flusher) Flush(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return
	case f.busy:
		f.opt.Dropped.Inc()
		return
	}
	f.opt.Store.LatchHistograms()
	if len(f.opt.Sinks) == 0 {
		return
	}
	f.opt.Store.LatchCounters()
	f.due <- &Flush{Store: f.opt.Store, Start: f.opt.Start, Last: f.last, Now: now}
	f.last, f.busy = now, true
}

// run ships until Close. Only changes between success and failure of a sink are logged.
func (f *Flusher) run(ctx context.Context) {
	defer close(f.done)
	failing := make([]bool, len(f.opt.Sinks))
	for interval := range f.due {
		for i, err := range f.ship(ctx, interval) {
			if (err != nil) != failing[i] && ctx.Err() == nil {
				failing[i] = err != nil
				f.tell(i, err)
			}
		}
		f.mu.Lock()
		f.busy = false
		f.mu.Unlock()
	}
}

// ship gives the interval to all sinks at once.
func (f *Flusher) ship(ctx context.Context, interval *Flush) []error {
	ctx, cancel := context.WithTimeout(ctx, f.opt.Timeout)
	defer cancel()
	errs := make([]error, len(f.opt.Sinks))
	var all sync.WaitGroup
	for i, s := range f.opt.Sinks {
		all.Go(func() { errs[i] = s.Flush(ctx, interval) })
	}
	all.Wait()
	return errs
}

func (f *Flusher) tell(i int, err error) {
	if err != nil {
		f.opt.Log.Warn("statistics are not shipped", "sink", f.opt.Names[i], "error", err)
		return
	}
	f.opt.Log.Info("statistics are shipped again", "sink", f.opt.Names[i])
}

// Stop ends all intervals: another process ships what is counted from now on.
func (f *Flusher) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// Close ships what was counted since the last flush, as far as grace allows and unless Stop went before, and ends all sinks.
func (f *Flusher) Close(grace time.Duration) {
	f.Flush(time.Now())
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	close(f.due)
	select {
	case <-f.done:
	case <-time.After(grace):
		f.cancel()
		<-f.done
	}
	f.cancel()
	for _, s := range f.opt.Sinks {
		s.Close()
	}
}
