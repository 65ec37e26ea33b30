package router

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// mutations are the compiled header mutations of one level.
type mutations struct {
	request, response edits
}

// edits change the headers of a message: removals first, then what replaces, then what is added.
type edits struct {
	remove []headerName
	add    []option
	// plain tells that everything to add is literal text that is appended whatever is there.
	plain bool
}

type headerName struct {
	id   message.ID
	name string // lower case
}

// option is one header to add.
type option struct {
	headerName
	literal string
	value   *format.Format // nil: the literal
	action  model.AppendAction
	keep    bool // add it although it is empty
}

func compileMutations(m *model.HeaderMutations) (out mutations, err error) {
	request, err1 := compileEdits(m.RequestRemove, m.RequestAdd)
	if err1 != nil {
		err1 = fmt.Errorf("request headers: %w", err1)
	}
	response, err2 := compileEdits(m.ResponseRemove, m.ResponseAdd)
	if err2 != nil {
		err2 = fmt.Errorf("response headers: %w", err2)
	}
	return mutations{request, response}, errors.Join(err1, err2)
}

func compileEdits(remove []string, add []model.HeaderOption) (edits, error) {
	out := edits{plain: true}
	var errs []error
	for _, name := range remove {
		if !modifiable(name) {
			errs = append(errs, fmt.Errorf("header %q: ':'-prefixed and host headers may not be removed", name))
		}
		out.remove = append(out.remove, newHeaderName(name))
	}
	for _, h := range add {
		if !modifiable(h.Name) {
			errs = append(errs, fmt.Errorf("header %q: ':'-prefixed and host headers may not be modified", h.Name))
			continue
		}
		f, err := format.Compile(h.Value, format.OmitEmpty())
		if err != nil {
			errs = append(errs, fmt.Errorf("header %q: %w", h.Name, err))
			continue
		}
		o := option{headerName: newHeaderName(h.Name), value: f, action: h.Append, keep: h.KeepEmpty}
		if text, ok := f.Literal(); ok {
			o.literal, o.value = text, nil
		}
		out.plain = out.plain && o.value == nil && o.action == model.AppendOrAdd && (o.keep || o.literal != "")
		out.add = append(out.add, o)
	}
	return out, errors.Join(errs...)
}

func newHeaderName(name string) headerName {
	name = strings.ToLower(name)
	return headerName{message.IDOf(name), name}
}

func modifiable(name string) bool {
	return name != "" && name[0] != ':' && !strings.EqualFold(name, "host")
}

func (n *headerName) in(h *message.Headers) bool {
	if n.id != message.Other {
		return h.Has(n.id)
	}
	_, ok := h.Lookup(n.name)
	return ok
}

func (n *headerName) removeFrom(h *message.Headers) {
	if n.id != message.Other {
		h.DelID(n.id)
	} else {
		h.Del(n.name)
	}
}

// maxRendered is the number of values that are rendered without allocating.
const maxRendered = 12

// apply changes h, a head of the stream. As in Envoy all values are rendered from what the removals left, so that what one of
// them adds is not seen by the next, and replacements come before additions.
func (e *edits) apply(s *filter.Stream, h *message.Headers) {
	for i := range e.remove {
		e.remove[i].removeFrom(h)
	}
	if e.plain {
		for i := range e.add {
			o := &e.add[i]
			h.Append(message.Field{ID: o.id, Name: o.name, Value: o.literal})
		}
		return
	}
	var some [maxRendered]rendered
	values := some[:]
	if len(e.add) > maxRendered {
		values = make([]rendered, len(e.add))
	}
	for i := range e.add {
		values[i].value, values[i].use = e.add[i].render(s, h)
	}
	for i := range e.add {
		if o := &e.add[i]; values[i].use && o.overwrites() {
			h.Set(o.name, values[i].value)
		}
	}
	for i := range e.add {
		if o := &e.add[i]; values[i].use && !o.overwrites() {
			h.Append(message.Field{ID: o.id, Name: o.name, Value: values[i].value})
		}
	}
}

// rendered is the value of an option for one message.
type rendered struct {
	value string
	use   bool
}

func (o *option) overwrites() bool {
	return o.action == model.OverwriteOrAdd || o.action == model.OverwriteIfExists
}

// render makes the value; use is false when the header is not to be touched.
func (o *option) render(s *filter.Stream, h *message.Headers) (value string, use bool) {
	switch o.action {
	case model.AddIfAbsent:
		if o.in(h) {
			return "", false
		}
	case model.OverwriteIfExists:
		if !o.in(h) {
			return "", false
		}
	}
	value = o.literal
	if o.value != nil {
		value = s.Arena.End(o.value.Append(s.Arena.Begin(), &s.Format))
	}
	return value, value != "" || o.keep
}

// levels are the edits of all levels that apply to a message, in their order: from the most specific to the least, so that the
// least specific has the last word, or the other way round with most_specific_header_mutations_wins. Levels without edits are
// left out.
type levels struct {
	request, response []*edits
}

// newLevels puts mutations in order that are given from the most specific to the least.
func newLevels(mostSpecificWins bool, list ...*mutations) (out levels) {
	for i := range list {
		m := list[i]
		if mostSpecificWins {
			m = list[len(list)-1-i]
		}
		if len(m.request.remove)+len(m.request.add) > 0 {
			out.request = append(out.request, &m.request)
		}
		if len(m.response.remove)+len(m.response.add) > 0 {
			out.response = append(out.response, &m.response)
		}
	}
	return out
}

// levelsOf are those of the route, or of the chosen cluster of its split.
func (e *entry) levelsOf(r *filter.Route) *levels {
	if r.Weighted != nil {
		for i := range e.weighted {
			if &e.route.Action.Weighted[i] == r.Weighted {
				return &e.weighted[i]
			}
		}
	}
	return &e.levels
}

// FinalizeResponse implements filter.Rules.
func (e *entry) FinalizeResponse(s *filter.Stream, r *filter.Route, resp *message.Response) {
	list := e.levelsOf(r).response
	if len(list) == 0 {
		return
	}
	s.Format.Response, s.Format.RouteMetadata = resp, e.route.Metadata
	for _, l := range list {
		l.apply(s, &resp.Headers)
	}
}

// FinalizeRequest implements filter.Rules.
func (e *entry) FinalizeRequest(s *filter.Stream, r *filter.Route, keepPath bool) {
	if list := e.levelsOf(r).request; len(list) > 0 {
		s.Format.RouteMetadata = e.route.Metadata
		for _, l := range list {
			l.apply(s, &s.Request.Headers)
		}
	}
	if a := e.route.Action; a != nil {
		e.rewriteHost(s, r, a)
		e.rewritePath(s, a, keepPath)
	}
}
