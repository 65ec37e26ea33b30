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
	requestRemove, responseRemove []string
	requestAdd, responseAdd       []option
}

// option is one header to add.
type option struct {
	name    string
	literal string
	value   *format.Format // nil: the literal
	action  model.AppendAction
	keep    bool // add it although it is empty
}

func compileMutations(m *model.HeaderMutations) (mutations, error) {
	out := mutations{requestRemove: m.RequestRemove, responseRemove: m.ResponseRemove}
	var errs []error
	for _, list := range [][]string{m.RequestRemove, m.ResponseRemove} {
		for _, name := range list {
			if !modifiable(name) {
				errs = append(errs, fmt.Errorf("header %q: ':'-prefixed and host headers may not be removed", name))
			}
		}
	}
	var err error
	if out.requestAdd, err = compileOptions(m.RequestAdd); err != nil {
		errs = append(errs, fmt.Errorf("request headers: %w", err))
	}
	if out.responseAdd, err = compileOptions(m.ResponseAdd); err != nil {
		errs = append(errs, fmt.Errorf("response headers: %w", err))
	}
	return out, errors.Join(errs...)
}

func modifiable(name string) bool {
	return name != "" && name[0] != ':' && !strings.EqualFold(name, "host")
}

func compileOptions(list []model.HeaderOption) ([]option, error) {
	var out []option
	var errs []error
	for _, h := range list {
		if !modifiable(h.Name) {
			errs = append(errs, fmt.Errorf("header %q: ':'-prefixed and host headers may not be modified", h.Name))
			continue
		}
		f, err := format.Compile(h.Value, format.OmitEmpty())
		if err != nil {
			errs = append(errs, fmt.Errorf("header %q: %w", h.Name, err))
			continue
		}
		o := option{name: strings.ToLower(h.Name), value: f, action: h.Append, keep: h.KeepEmpty}
		if text, ok := f.Literal(); ok {
			o.literal, o.value = text, nil
		}
		out = append(out, o)
	}
	return out, errors.Join(errs...)
}

// applyLevel removes, then adds in order.
func applyLevel(s *filter.Stream, h *message.Headers, remove []string, add []option) {
	for _, name := range remove {
		h.Del(name)
	}
	for i := range add {
		o := &add[i]
		overwrite := o.action == model.OverwriteOrAdd
		switch o.action {
		case model.AddIfAbsent:
			if has(h, o.name) {
				continue
			}
		case model.OverwriteIfExists:
			if !has(h, o.name) {
				continue
			}
			overwrite = true
		}
		value := o.render(s)
		switch {
		case value == "" && !o.keep:
		case overwrite:
			h.Set(o.name, value)
		default:
			h.Add(o.name, value)
		}
	}
}

func has(h *message.Headers, name string) bool {
	_, ok := h.Lookup(name)
	return ok
}

func (o *option) render(s *filter.Stream) string {
	if o.value == nil {
		return o.literal
	}
	return s.Arena.End(o.value.Append(s.Arena.Begin(), &s.Format))
}

// levels calls f with the mutations of every level in the order in which Envoy applies them: from the most specific to
// the least, so that the least specific has the last word, or the other way round with
// most_specific_header_mutations_wins.
func (e *entry) levels(r *filter.Route, f func(*mutations)) {
	weighted := e.weightedMutations(r)
	if e.table.config.MostSpecificWins {
		f(&e.table.headers)
		f(&e.host.headers)
		f(&e.headers)
		if weighted != nil {
			f(weighted)
		}
		return
	}
	if weighted != nil {
		f(weighted)
	}
	f(&e.headers)
	f(&e.host.headers)
	f(&e.table.headers)
}

// FinalizeResponse implements filter.Rules.
func (e *entry) FinalizeResponse(s *filter.Stream, r *filter.Route, resp *message.Response) {
	e.levels(r, func(m *mutations) {
		if len(m.responseRemove) == 0 && len(m.responseAdd) == 0 {
			return
		}
		s.Format.Response, s.Format.RouteMetadata = resp, e.route.Metadata
		applyLevel(s, &resp.Headers, m.responseRemove, m.responseAdd)
	})
}

// FinalizeRequest implements filter.Rules.
func (e *entry) FinalizeRequest(s *filter.Stream, r *filter.Route, keepPath bool) {
	e.levels(r, func(m *mutations) {
		if len(m.requestRemove) == 0 && len(m.requestAdd) == 0 {
			return
		}
		s.Format.RouteMetadata = e.route.Metadata
		applyLevel(s, &s.Request.Headers, m.requestRemove, m.requestAdd)
	})
	if a := e.route.Action; a != nil {
		e.rewriteHost(s, r, a)
		e.rewritePath(s, a, keepPath)
	}
}
