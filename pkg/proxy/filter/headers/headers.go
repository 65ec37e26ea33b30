// Package headers compiles lists of header mutations and applies them to the messages of a stream.
//
// It owns what Envoy's HeaderValueOption means. It must not know which filter or setting the list belongs to. Compiled
// lists are immutable and shared by all streams.
package headers

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// Mutations change headers in order.
type Mutations []mutation

// mutation removes a header or adds one.
type mutation struct {
	name   string
	remove bool
	match  *model.StringMatcher // of the names of headers to remove; nil: none

	literal string
	value   *format.Format // nil: the literal
	action  model.AppendAction
	keep    bool // add it although it is empty
}

// Remove is the removal of a header. The error tells that it may not be touched.
func Remove(name string) (Mutations, error) {
	if !modifiable(name) {
		return nil, fmt.Errorf("header %q: :-prefixed and host headers may not be removed", name)
	}
	return Mutations{{name: strings.ToLower(name), remove: true}}, nil
}

// RemoveMatching is the removal of all headers whose names, in lower case, match.
func RemoveMatching(m model.StringMatcher) Mutations { return Mutations{{match: &m}} }

// Add compiles headers to add. Errors name the header.
func Add(list ...model.HeaderOption) (Mutations, error) {
	var out Mutations
	var errs []error
	for _, h := range list {
		if !modifiable(h.Name) {
			errs = append(errs, fmt.Errorf("header %q: :-prefixed and host headers may not be modified", h.Name))
			continue
		}
		f, err := format.Compile(h.Value, format.OmitEmpty())
		if err != nil {
			errs = append(errs, fmt.Errorf("header %q: %w", h.Name, err))
			continue
		}
		m := mutation{name: strings.ToLower(h.Name), value: f, action: h.Append, keep: h.KeepEmpty}
		if text, ok := f.Literal(); ok {
			m.literal, m.value = text, nil
		}
		out = append(out, m)
	}
	return out, errors.Join(errs...)
}

func modifiable(name string) bool {
	return name != "" && name[0] != ':' && !strings.EqualFold(name, "host")
}

// Apply changes h, a head of the stream; values are rendered from s.Format.
func (ms Mutations) Apply(s *filter.Stream, h *message.Headers) {
	for i := range ms {
		ms[i].apply(s, h)
	}
}

func (m *mutation) apply(s *filter.Stream, h *message.Headers) {
	if m.remove {
		h.Del(m.name)
		return
	}
	if m.match != nil {
		removeMatching(h, m.match)
		return
	}
	_, there := h.Lookup(m.name)
	if there && m.action == model.AddIfAbsent || !there && m.action == model.OverwriteIfExists {
		return
	}
	value := m.literal
	if m.value != nil {
		value = s.Arena.End(m.value.Append(s.Arena.Begin(), &s.Format))
	}
	switch {
	case value == "" && !m.keep:
	case m.action == model.OverwriteOrAdd || m.action == model.OverwriteIfExists:
		h.Set(m.name, value)
	default:
		h.Add(m.name, value)
	}
}

func removeMatching(h *message.Headers, m *model.StringMatcher) {
	for i := 0; i < h.Len(); {
		if name := h.At(i).Name; !match.String(m, strings.ToLower(name)) || !h.Del(name) {
			i++
		}
	}
}
