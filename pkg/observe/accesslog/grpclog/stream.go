// Package grpclog sends access log entries to a gRPC access log service (envoy.access_loggers.http_grpc and .tcp_grpc).
//
// It owns one stream per service and log name, and what waits to be sent on it. It must not know who logs. Entries are
// made by whoever logs, under no lock, and handed to the stream's goroutine, which Close waits for.
package grpclog

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

const (
	// maxWaiting bounds the bytes that wait for a service that does not take them; what comes then is dropped and counted.
	maxWaiting = 1 << 20
	// patience bounds the wait of Close for what is left to be sent.
	patience = time.Second
)

// NewLogger implements accesslog.Builder.
func (c *config) NewLogger(m *accesslog.Manager) (accesslog.Logger, error) {
	shared, err := m.Share(c.target, func(env accesslog.Environment) (io.Closer, error) {
		if env.Dial == nil {
			return nil, fmt.Errorf("reach access log service %s: there are no clusters here", c.cluster)
		}
		return newStream(c.target, env), nil
	})
	if err != nil {
		return nil, err
	}
	return &logger{config: c, stream: shared.(*stream)}, nil
}

type logger struct {
	config *config
	stream *stream
}

// Log implements accesslog.Logger.
func (l *logger) Log(c *format.Context) {
	if l.config.http {
		l.stream.add(l.config.httpEntry(c))
		return
	}
	l.stream.add(tcpEntry(c))
}

// stream sends the entries of one log to one service.
type stream struct {
	target target
	env    accesslog.Environment
	kick   chan struct{} // one slot: enough waits to be sent
	stop   context.CancelFunc
	done   chan struct{}

	written, dropped *stats.Counter

	mu   sync.Mutex
	http []*accesslogv3.HTTPAccessLogEntry
	tcp  []*accesslogv3.TCPAccessLogEntry
	size int
}

func newStream(t target, env accesslog.Environment) *stream {
	ctx, stop := context.WithCancel(context.Background())
	scope := env.Stats.Scope("access_logs.grpc_access_log")
	s := &stream{
		target: t, env: env, kick: make(chan struct{}, 1), stop: stop, done: make(chan struct{}),
		written: scope.Counter("logs_written"), dropped: scope.Counter("logs_dropped"),
	}
	go s.run(ctx)
	return s
}

// Close sends what waits, and ends the stream.
func (s *stream) Close() error {
	s.stop()
	<-s.done
	return nil
}

// add takes an entry: *HTTPAccessLogEntry or *TCPAccessLogEntry, as the target says.
func (s *stream) add(entry proto.Message) {
	size := proto.Size(entry)
	s.mu.Lock()
	full := s.size+size > maxWaiting
	if !full {
		s.size += size
		if s.target.http {
			s.http = append(s.http, entry.(*accesslogv3.HTTPAccessLogEntry))
		} else {
			s.tcp = append(s.tcp, entry.(*accesslogv3.TCPAccessLogEntry))
		}
	}
	enough := s.size >= s.target.size
	s.mu.Unlock()
	if full {
		s.dropped.Inc()
		return
	}
	s.written.Inc()
	if enough {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

// take empties what waits into a message; nil when nothing does.
func (s *stream) take() *servicev3.StreamAccessLogsMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &servicev3.StreamAccessLogsMessage{}
	switch {
	case len(s.http) > 0:
		m.LogEntries = &servicev3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &servicev3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: s.http}}
	case len(s.tcp) > 0:
		m.LogEntries = &servicev3.StreamAccessLogsMessage_TcpLogs{TcpLogs: &servicev3.StreamAccessLogsMessage_TCPAccessLogEntries{LogEntry: s.tcp}}
	default:
		return nil
	}
	s.http, s.tcp, s.size = nil, nil, 0
	return m
}

// run sends when enough waits and at every interval, until ctx ends; then once more.
func (s *stream) run(ctx context.Context) {
	defer close(s.done)
	// The stream outlives ctx, for what is sent at the end.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	tick := time.NewTicker(s.target.interval)
	defer tick.Stop()
	var open servicev3.AccessLogService_StreamAccessLogsClient
	for {
		last := false
		select {
		case <-ctx.Done():
			last = true
			time.AfterFunc(patience, end)
		case <-s.kick:
		case <-tick.C:
		}
		if m := s.take(); m != nil {
			open = s.send(life, open, m)
		}
		if last {
			if open != nil {
				_, _ = open.CloseAndRecv() // what the service thinks of the log changes nothing any more
			}
			return
		}
	}
}

// send sends m on the open stream, or on a new one, and returns it; nil when it broke, which loses m.
func (s *stream) send(ctx context.Context, open servicev3.AccessLogService_StreamAccessLogsClient, m *servicev3.StreamAccessLogsMessage) servicev3.AccessLogService_StreamAccessLogsClient {
	if open != nil && open.Context().Err() == nil && open.Send(m) == nil {
		return open
	}
	n := uint64(len(m.GetHttpLogs().GetLogEntry()) + len(m.GetTcpLogs().GetLogEntry()))
	conn, err := s.env.Dial(s.target.service())
	if err != nil {
		s.dropped.Add(n)
		return nil
	}
	for pair := range strings.Lines(s.target.metadata) {
		name, value, _ := strings.Cut(strings.TrimSuffix(pair, "\n"), "=")
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	next, err := servicev3.NewAccessLogServiceClient(conn).StreamAccessLogs(ctx)
	if err != nil {
		s.dropped.Add(n)
		return nil
	}
	// The first message of a stream says who logs.
	m.Identifier = &servicev3.StreamAccessLogsMessage_Identifier{Node: s.env.Node(), LogName: s.target.name}
	if err := next.Send(m); err != nil {
		s.dropped.Add(n)
		return nil
	}
	return next
}
