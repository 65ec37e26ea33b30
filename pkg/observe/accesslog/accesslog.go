// Package accesslog writes access logs: which entries (filters), in which form (pkg/observe/format) and where (files and
// the standard streams).
//
// It owns open log files, each once per path, and their buffers. It must not know who serves the streams. Locking: one
// lock per file, held while an entry is rendered into the buffer; writing happens on a goroutine of the file, which Close
// waits for. Loggers are immutable and shared.
package accesslog

import (
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
)

// File is the decoded configuration of a logger that writes to a file or stream. It is immutable.
type File struct {
	// Path of the file; the standard streams are /dev/stdout and /dev/stderr.
	Path   string
	Format Encoder
}

// Encoder renders one entry, including its line feed; *format.Format and *format.JSON are encoders.
type Encoder interface {
	Append(dst []byte, c *format.Context) []byte
}

var (
	_ Encoder = (*format.Format)(nil)
	_ Encoder = (*format.JSON)(nil)
)

// Logger writes entries somewhere. It is safe for concurrent use.
type Logger interface {
	Log(c *format.Context)
}

// Builder is implemented by decoded configurations of loggers that open themselves; File needs none.
type Builder interface {
	NewLogger(m *Manager) (Logger, error)
}

// Loggers are the access logs of one owner, in configuration order.
type Loggers []filtered

type filtered struct {
	filter Filter // nil: all
	logger Logger
}

// Log writes the entry to every logger whose filter accepts it.
func (l Loggers) Log(c *format.Context) {
	for i := range l {
		if f := l[i].filter; f == nil || f.Match(c) {
			l[i].logger.Log(c)
		}
	}
}

// Build makes the loggers of a configuration and opens their files.
func (m *Manager) Build(list []*model.AccessLog) (Loggers, error) {
	var out Loggers
	var errs []error
	for i, a := range list {
		l, err := m.build(a)
		if err != nil {
			errs = append(errs, fmt.Errorf("access log %d %q: %w", i, a.Name, err))
			continue
		}
		out = append(out, l)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("build access logs: %w", err)
	}
	return out, nil
}

func (m *Manager) build(a *model.AccessLog) (filtered, error) {
	out := filtered{}
	if a.Filter != nil {
		f, ok := a.Filter.(Filter)
		if !ok {
			return out, fmt.Errorf("filter of type %T is not an access log filter", a.Filter)
		}
		out.filter = bind(f, m.opt.Runtime)
	}
	switch c := a.Config.(type) {
	case *File:
		f, err := m.open(c.Path)
		if err != nil {
			return out, err
		}
		out.logger = &fileLogger{file: f, format: c.Format}
	case Builder:
		l, err := c.NewLogger(m)
		if err != nil {
			return out, err
		}
		out.logger = l
	default:
		return out, fmt.Errorf("configuration of type %T is not an access logger", a.Config)
	}
	return out, nil
}

type fileLogger struct {
	file   *file
	format Encoder
}

// Log implements Logger.
func (l *fileLogger) Log(c *format.Context) { l.file.log(l.format, c) }
