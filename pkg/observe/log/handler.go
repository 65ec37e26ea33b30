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
	tags      []byte // the same as `,"key":"value"`, if the format asks for it
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
	e := event{
		time: r.Time, level: r.Level, component: h.component, pc: r.PC, message: *msg, bare: r.Message,
	}
	if h.format.tags {
		e.tags = h.withTags(r.Attrs)
	}
	line := h.out.buffer()
	*line = h.format.append(*line, &e)
	*line = append(*line, '\n')
	h.out.recycle(msg)
	return h.out.write(line)
}

// withTags gives the handler's tags and those of more attributes.
func (h *handler) withTags(each func(func(slog.Attr) bool)) []byte {
	tags := slices.Clip(h.tags)
	each(func(a slog.Attr) bool {
		tags = appendTag(tags, h.group, a)
		return true
	})
	return tags
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *h
	derived.attrs = slices.Clip(slices.Clone(h.attrs))
	for _, a := range attrs {
		derived.attrs = appendAttr(derived.attrs, h.group, a)
		if h.format.tags {
			derived.tags = appendTag(slices.Clip(derived.tags), h.group, a)
		}
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
	eachLeaf(group, a, func(key string, v slog.Value) {
		b = appendText(append(b, ' '), key)
		b = appendValue(append(b, '='), v)
	})
	return b
}

// appendTag appends `,"group.key":"value"`, for a group one for each of its members. Every value is
// a string, as in Envoy.
func appendTag(b []byte, group string, a slog.Attr) []byte {
	eachLeaf(group, a, func(key string, v slog.Value) {
		b = appendJSON(append(b, `,"`...), key)
		b = appendJSON(append(b, `":"`...), valueText(v))
		b = append(b, '"')
	})
	return b
}

// eachLeaf calls f for the attribute or, if it is a group, for its members.
func eachLeaf(group string, a slog.Attr, f func(key string, v slog.Value)) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range v.Group() {
			eachLeaf(group, member, f)
		}
		return
	}
	if a.Key != "" || v.Any() != nil { // slog: an empty Attr is ignored
		f(group+a.Key, v)
	}
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
	return appendText(b, valueText(v))
}

// valueText is a value as a string without quotes. A method of the value that panics, such as Error
// on a nil pointer, must not take the program down with it.
func valueText(v slog.Value) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("!PANIC: %v", p)
		}
	}()
	switch x := v.Any().(type) {
	case error:
		return x.Error()
	case time.Time:
		return x.Format(time.RFC3339Nano)
	case encoding.TextMarshaler:
		if out, err := x.MarshalText(); err == nil {
			return string(out)
		}
	}
	return v.String()
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
