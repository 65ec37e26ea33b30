package accesslog

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

const (
	// flushSize wakes the writer; Envoy's minimum flush size.
	flushSize = 64 << 10
	// maxBuffered bounds what a slow file may hold back; beyond it, whoever logs waits for the writer.
	maxBuffered = 4 << 20
	// defaultFlushInterval is Envoy's --file-flush-interval-msec.
	defaultFlushInterval = 10 * time.Second
)

// Options configure a Manager. The zero value is fine.
type Options struct {
	// FlushInterval is the longest time that an entry waits in memory. Default 10 s.
	FlushInterval time.Duration
	// Stats is the root scope; the manager counts in "filesystem.".
	Stats *stats.Scope
	// Stdout and Stderr stand for /dev/stdout and /dev/stderr. Default: those of the process.
	Stdout, Stderr io.Writer
	// Runtime answers the runtime keys of filters; nil knows none.
	Runtime *model.Runtime
	// Dial gives the channel to a gRPC service, for loggers that send; nil has none. Node is who logs.
	Dial func(model.GRPCService) (grpc.ClientConnInterface, error)
	Node func() *corev3.Node
}

// Environment is what loggers that send are given.
type Environment struct {
	Stats *stats.Scope
	Dial  func(model.GRPCService) (grpc.ClientConnInterface, error)
	Node  func() *corev3.Node
}

// Manager owns the open log files. It is safe for concurrent use.
type Manager struct {
	opt   Options
	stats fileStats

	mu     sync.Mutex
	files  map[string]*file
	shared map[any]io.Closer
	closed bool
}

type fileStats struct {
	flushedByTimer, reopenFailed, buffered, completed, failed *stats.Counter
	total                                                     *stats.Gauge
}

// NewManager makes a manager without open files.
func NewManager(o Options) *Manager {
	if o.FlushInterval <= 0 {
		o.FlushInterval = defaultFlushInterval
	}
	if o.Stats == nil {
		o.Stats = stats.NewStore().Root()
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	sc := o.Stats.Scope("filesystem")
	return &Manager{opt: o, files: make(map[string]*file), shared: map[any]io.Closer{}, stats: fileStats{
		flushedByTimer: sc.Counter("flushed_by_timer"),
		reopenFailed:   sc.Counter("reopen_failed"),
		buffered:       sc.Counter("write_buffered"),
		completed:      sc.Counter("write_completed"),
		failed:         sc.Counter("write_failed"),
		total:          sc.Gauge("write_total_buffered"),
	}}
}

// Share returns what open made for key before, or makes it. CloseShared closes it.
func (m *Manager) Share(key any, open func(Environment) (io.Closer, error)) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.shared[key]; c != nil {
		return c, nil
	}
	c, err := open(Environment{Stats: m.opt.Stats, Dial: m.opt.Dial, Node: m.opt.Node})
	if err != nil {
		return nil, err
	}
	m.shared[key] = c
	return c, nil
}

// CloseShared closes what loggers share, such as streams, after the last entry and before what they reach is closed.
func (m *Manager) CloseShared() error {
	m.mu.Lock()
	shared := slices.Collect(maps.Values(m.shared))
	m.mu.Unlock()
	var errs []error
	for _, c := range shared {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// open returns the file at path, opening it when it is not open yet.
func (m *Manager) open(path string) (*file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, fmt.Errorf("open access log %s: the manager is closed", path)
	}
	if f := m.files[path]; f != nil {
		return f, nil
	}
	f := &file{path: path, stats: &m.stats, wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	f.room = sync.NewCond(&f.mu)
	switch path {
	case "/dev/stdout":
		f.out = m.opt.Stdout
	case "/dev/stderr":
		f.out = m.opt.Stderr
	default:
		out, err := openFile(path)
		if err != nil {
			return nil, err
		}
		f.out, f.own = out, out
	}
	m.files[path] = f
	go f.run(m.opt.FlushInterval)
	return f, nil
}

func openFile(path string) (*os.File, error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	return out, nil
}

// Reopen flushes all files and opens them again by their paths, after log rotation. Files that cannot be opened keep
// writing to where they did; the errors are returned together.
func (m *Manager) Reopen() error {
	var errs []error
	for _, f := range m.all() {
		if err := f.reopen(); err != nil {
			m.stats.reopenFailed.Inc()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Append adds a line, which brings its own end, to the file at path; other logs than access logs use the same files.
func (m *Manager) Append(path string, line []byte) error {
	f, err := m.open(path)
	if err != nil {
		return err
	}
	f.add(func(buf []byte) []byte { return append(buf, line...) })
	return nil
}

// Flush writes everything that was logged so far.
func (m *Manager) Flush() error {
	var errs []error
	for _, f := range m.all() {
		errs = append(errs, f.flush())
	}
	return errors.Join(errs...)
}

// Close flushes and closes all files and waits for their writers. Entries that are logged later are lost.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	var errs []error
	for _, f := range m.all() {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

func (m *Manager) all() []*file {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*file, 0, len(m.files))
	for _, f := range m.files {
		out = append(out, f)
	}
	return out
}

// file is one open log file.
type file struct {
	path  string
	stats *fileStats
	wake  chan struct{} // capacity 1: the buffer is full enough
	stop  chan struct{}
	once  sync.Once

	stopped chan struct{}

	mu   sync.Mutex
	room *sync.Cond // signalled when buf was taken
	buf  []byte
	done bool

	writing sync.Mutex // held while writing, and to change out; taken before mu
	spare   []byte
	out     io.Writer
	own     *os.File // nil for the standard streams
}

func (f *file) log(e Encoder, c *format.Context) {
	f.add(func(buf []byte) []byte { return e.Append(buf, c) })
}

// add appends an entry to the buffer, once there is room.
func (f *file) add(entry func([]byte) []byte) {
	f.mu.Lock()
	for len(f.buf) >= maxBuffered && !f.done {
		f.room.Wait()
	}
	if f.done {
		f.mu.Unlock()
		return
	}
	n := len(f.buf)
	f.buf = entry(f.buf)
	added, full := len(f.buf)-n, len(f.buf) >= flushSize
	f.mu.Unlock()
	f.stats.buffered.Inc()
	f.stats.total.Add(int64(added))
	if full {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// run writes when the buffer is full and at every interval, until close. A write that fails is counted; there is nobody
// who could be told.
func (f *file) run(interval time.Duration) {
	defer close(f.stopped)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-f.wake:
			_ = f.flush()
		case <-tick.C:
			f.mu.Lock()
			some := len(f.buf) > 0
			f.mu.Unlock()
			if some {
				f.stats.flushedByTimer.Inc()
				_ = f.flush()
			}
		case <-f.stop:
			return
		}
	}
}

// flush writes what is buffered.
func (f *file) flush() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.mu.Lock()
	data := f.buf
	f.buf = f.spare[:0]
	f.room.Broadcast()
	f.mu.Unlock()
	f.spare = nil
	if cap(data) <= 4*flushSize {
		f.spare = data[:0]
	}
	if len(data) == 0 {
		return nil
	}
	f.stats.total.Sub(int64(len(data)))
	if _, err := f.out.Write(data); err != nil {
		f.stats.failed.Inc()
		return fmt.Errorf("write access log %s: %w", f.path, err)
	}
	f.stats.completed.Inc()
	return nil
}

func (f *file) reopen() error {
	if err := f.flush(); err != nil {
		return err
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.own == nil {
		return nil
	}
	out, err := openFile(f.path)
	if err != nil {
		return err
	}
	old := f.own
	f.out, f.own = out, out
	if err := old.Close(); err != nil {
		return fmt.Errorf("close access log %s: %w", f.path, err)
	}
	return nil
}

func (f *file) close() error {
	f.once.Do(func() { close(f.stop) })
	<-f.stopped
	err := f.flush()
	f.mu.Lock()
	f.done = true
	f.room.Broadcast()
	f.mu.Unlock()
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.own != nil {
		err = errors.Join(err, f.own.Close())
		f.own, f.out = nil, io.Discard
	}
	return err
}
