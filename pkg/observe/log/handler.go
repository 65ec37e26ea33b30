package log

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// output serialises lines to one writer and lends out line buffers.
type output struct {
	pool sync.Pool // of *[]byte

	mu sync.Mutex
	w  io.Writer
}

// maxPooled is the largest line buffer kept: one huge line must not pin its memory for good.
const maxPooled = 16 << 10

func (o *output) buffer() *[]byte {
	if b, ok := o.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 512)
	return &b
}

func (o *output) write(b *[]byte) error {
	o.mu.Lock()
	_, err := o.w.Write(*b)
	o.mu.Unlock()
	o.recycle(b)
	return err
}

func (o *output) recycle(b *[]byte) {
	if cap(*b) <= maxPooled {
		*b = (*b)[:0]
		o.pool.Put(b)
	}
}

// handler is the slog.Handler of one component; WithAttrs and WithGroup derive copies that share
// the component's level.
type handler struct {
	component string
	level     *slog.LevelVar
	out       *output
	format    *Format
	attrs     []byte // " key=value" for each attribute of WithAttrs
	group     string // "a.b." of WithGroup
}

var _ slog.Handler = (*handler)(nil)

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler: it writes one line.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	msg := h.out.buffer()
	*msg = append(append(*msg, r.Message...), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		*msg = appendAttr(*msg, h.group, a)
		return true
	})
	line := h.out.buffer()
	*line = h.format.append(*line, &event{
		time: r.Time, level: r.Level, component: h.component, pc: r.PC, message: *msg,
	})
	*line = append(*line, '\n')
	h.out.recycle(msg)
	return h.out.write(line)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *h
	derived.attrs = slices.Clip(slices.Clone(h.attrs))
	for _, a := range attrs {
		derived.attrs = appendAttr(derived.attrs, h.group, a)
	}
	return &derived
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	derived := *h
	derived.group += name + "."
	return &derived
}

// appendAttr appends " group.key=value", for a group one for each of its members.
func appendAttr(b []byte, group string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range v.Group() {
			b = appendAttr(b, group, member)
		}
		return b
	}
	if a.Key == "" && v.Any() == nil {
		return b // slog: an empty Attr is ignored
	}
	b = append(b, ' ')
	b = appendText(b, group+a.Key)
	b = append(b, '=')
	return appendValue(b, v)
}

func appendValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		return appendText(b, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindFloat64:
		return strconv.AppendFloat(b, v.Float64(), 'g', -1, 64)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindDuration:
		return append(b, v.Duration().String()...)
	case slog.KindTime:
		return v.Time().AppendFormat(b, time.RFC3339Nano)
	}
	if m, ok := v.Any().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return appendText(b, string(text))
		}
	}
	return appendText(b, fmt.Sprint(v.Any()))
}

// appendText appends s, quoted if it would otherwise be misread as more than one word or line.
func appendText(b []byte, s string) []byte {
	if s == "" || needsQuotes(s) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

func needsQuotes(s string) bool {
	for _, r := range s {
		if r == ' ' || r == '"' || r == '=' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return true
		}
	}
	return false
}
