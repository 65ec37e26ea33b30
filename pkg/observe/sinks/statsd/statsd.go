// Package statsd ships statistics to statsd and DogStatsD servers (envoy.stat_sinks.statsd, .dog_statsd and
// .graphite_statsd).
//
// It owns the lines and how they are packed. It must not know where statistics come from. A sink is used from one goroutine.
//
// Envoy sends a line for each value of a histogram at the moment it is recorded. Here the values of an interval are sent
// together at its end, those with the same two leading digits as one line with a sample rate ("|ms|@0.25" stands for four
// values), so that requests pay for no datagrams.
package statsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/sinks"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Bounds of what is sent at once, in bytes: what a UDP datagram over IPv4 holds, and what is kept for a TCP connection (as
// in Envoy).
const (
	maxDatagram = 65507
	maxBuffered = 16 << 20
)

// Config configures a sink.
type Config struct {
	// Network and Address are of a datagram socket; Cluster, when set, takes their place with a TCP connection.
	Network, Address, Cluster string
	// Prefix comes before all names, without a dot at its end.
	Prefix string
	// Tags sends names without the values of tags, and the tags behind (DogStatsD).
	Tags bool
	// Graphite puts the tags behind the name instead, as Graphite does: "name;tag=value".
	Graphite bool
	// MaxDatagram packs several lines into datagrams of so many bytes; 0 sends each line in one of its own.
	MaxDatagram int
}

var _ sinks.Builder = (*Config)(nil)

// TCPCluster is the cluster that must be there, "" for none.
func (c *Config) TCPCluster() string { return c.Cluster }

// Build implements sinks.Builder.
func (c *Config) Build(deps sinks.Deps, _ model.GRPCService) sinks.Sink {
	return &sink{cfg: c, deps: deps}
}

type sink struct {
	cfg  *Config
	deps sinks.Deps
	conn net.Conn // nil before the first flush, and after an error
	line []byte
	out  []byte
	// refused are lines that were given up because a datagram could not be sent.
	refused error
}

var errTooMuch = errors.New("the server takes less than is counted")

// Flush implements sinks.Sink.
func (s *sink) Flush(ctx context.Context, f *sinks.Flush) error {
	if err := s.connect(ctx); err != nil {
		return fmt.Errorf("connect to statsd: %w", err)
	}
	deadline, _ := ctx.Deadline()
	err := s.conn.SetWriteDeadline(deadline)
	s.out, s.refused = s.out[:0], nil
	if err == nil {
		err = sinks.Each(f.Store, s.series, stats.CounterKind, stats.GaugeKind, stats.HistogramKind)
	}
	if err == nil {
		err = s.send()
	}
	if err == nil {
		err = s.refused
	}
	if err == nil {
		return nil
	}
	s.Close()
	return fmt.Errorf("send statistics to statsd: %w", err)
}

// Close implements sinks.Sink.
func (s *sink) Close() {
	if s.conn != nil {
		_ = s.conn.Close() // what it holds is lost either way
		s.conn = nil
	}
}

func (s *sink) connect(ctx context.Context) (err error) {
	if s.conn != nil && !s.hungUp() {
		return nil
	}
	s.Close()
	if s.cfg.Cluster != "" {
		s.conn, err = s.deps.DialCluster(ctx, s.cfg.Cluster)
		return err
	}
	s.conn, err = s.deps.DialAddress(ctx, s.cfg.Network, s.cfg.Address)
	return err
}

// hungUp tells whether a TCP server has closed: it never sends anything, so that nothing else can be read.
func (s *sink) hungUp() bool {
	if s.cfg.Cluster == "" {
		return false
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return true
	}
	var b [256]byte
	_, err := s.conn.Read(b[:])
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return false
	}
	return err != nil
}

// series writes the lines of a stat.
func (s *sink) series(base string, tags []stats.Tag, x *stats.Series) error {
	switch x.Kind() {
	case stats.CounterKind:
		s.begin(base, tags, x)
		s.line = append(strconv.AppendUint(s.line, x.Delta(), 10), "|c"...)
		return s.end(tags)
	case stats.GaugeKind:
		s.begin(base, tags, x)
		s.line = append(strconv.AppendUint(s.line, x.Value(), 10), "|g"...)
		return s.end(tags)
	}
	interval := x.Histogram().Interval()
	for _, b := range interval.Bins() {
		s.begin(base, tags, x)
		s.value(x.Histogram().Unit(), b)
		if b.Count > 1 {
			s.line = append(s.line, "|@"...)
			s.line = strconv.AppendFloat(s.line, 1/float64(b.Count), 'g', 8, 64)
		}
		if err := s.end(tags); err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) begin(base string, tags []stats.Tag, x *stats.Series) {
	s.line = append(append(s.line[:0], s.cfg.Prefix...), '.')
	if s.cfg.Tags {
		s.line = append(s.line, base...)
	} else {
		s.line = append(s.line, x.Name()...)
	}
	// A name such as that of cluster outbound|80||web would end the line's value.
	for i, b := range s.line {
		if b == '|' || b == ':' {
			s.line[i] = '_'
		}
	}
	if s.cfg.Graphite {
		for _, t := range tags {
			s.line = append(append(append(append(s.line, ';'), t.Name...), '='), clean(t.Value)...)
		}
	}
	s.line = append(s.line, ':')
}

// value writes the value that stands for a bin: exact below 100, else the middle. As in Envoy only fractions are
// histograms, all else are timers.
func (s *sink) value(unit stats.Unit, b stats.Bucket) {
	middle := b.Lower
	if b.Width > 1 || unit == stats.Percent {
		middle += b.Width / 2
	}
	if unit == stats.Percent {
		s.line = append(strconv.AppendFloat(s.line, middle, 'g', 6, 64), "|h"...)
		return
	}
	s.line = append(strconv.AppendUint(s.line, uint64(middle), 10), "|ms"...)
}

// end adds the tags and sends what is full.
func (s *sink) end(tags []stats.Tag) error {
	if s.cfg.Tags && !s.cfg.Graphite && len(tags) > 0 {
		s.line = append(s.line, "|#"...)
		for i, t := range tags {
			if i > 0 {
				s.line = append(s.line, ',')
			}
			s.line = append(append(append(s.line, t.Name...), ':'), clean(t.Value)...)
		}
	}
	if s.cfg.Cluster != "" {
		s.out = append(append(s.out, s.line...), '\n')
		if len(s.out) > maxBuffered {
			return errTooMuch
		}
		return nil
	}
	if len(s.out) > 0 && len(s.out)+1+len(s.line) > s.cfg.MaxDatagram {
		if err := s.send(); err != nil {
			return err
		}
	}
	if len(s.out) > 0 {
		s.out = append(s.out, '\n')
	}
	s.out = append(s.out, s.line...)
	return nil
}

// clean keeps the value of a tag from ending it.
func clean(value string) string {
	const marks = ",|:;"
	if !strings.ContainsAny(value, marks) {
		return value
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(marks, r) {
			return '_'
		}
		return r
	}, value)
}

// send writes what is packed. A datagram that nobody takes is no reason to keep the others back.
func (s *sink) send() error {
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	if err != nil && s.cfg.Cluster == "" {
		s.refused = err
		return nil
	}
	return err
}
