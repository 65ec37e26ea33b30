package hcm

import (
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/proxy/filter/headers"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// localReply is a compiled local_reply_config.
type localReply struct {
	mappers []replyMapper
	body    *replyBody // nil: as it is
}

type replyMapper struct {
	filter  accesslog.Filter // nil never matches, as in Envoy
	status  int
	text    string
	hasText bool
	body    *replyBody
	headers headers.Mutations
}

type replyBody struct {
	format      accesslog.Encoder
	contentType string
}

func (m *Manager) compileLocalReply(cfg *model.LocalReply) (*localReply, error) {
	if cfg == nil {
		return nil, nil
	}
	out := &localReply{}
	var errs []error
	var err error
	if out.body, err = compileBody(cfg.Body); err != nil {
		errs = append(errs, fmt.Errorf("body_format: %w", err))
	}
	for i, r := range cfg.Mappers {
		to := replyMapper{status: r.Status, text: r.Text, hasText: r.HasText}
		if to.body, err = compileBody(r.Body); err != nil {
			errs = append(errs, fmt.Errorf("mappers[%d]: body_format_override: %w", i, err))
		}
		if to.headers, err = headers.Add(r.HeadersAdd...); err != nil {
			errs = append(errs, fmt.Errorf("mappers[%d]: headers_to_add: %w", i, err))
		}
		if r.Filter != nil {
			if to.filter, err = accesslog.BindFilter(r.Filter, m.deps.Runtime); err != nil {
				errs = append(errs, fmt.Errorf("mappers[%d]: filter: %w", i, err))
			}
		}
		out.mappers = append(out.mappers, to)
	}
	return out, errors.Join(errs...)
}

func compileBody(b *model.ReplyBody) (*replyBody, error) {
	if b == nil {
		return nil, nil
	}
	e, ok := b.Format.(accesslog.Encoder)
	if !ok {
		return nil, fmt.Errorf("%T is not a format", b.Format)
	}
	return &replyBody{format: e, contentType: b.ContentType}, nil
}

// apply rewrites a reply. The content type is empty when that of the headers stands: a mapper has set it, or the caller has
// and the body is still the caller's.
func (l *localReply) apply(s *stream, resp *message.Response, body string) (text, contentType string) {
	before := resp.Headers.Get(message.ContentType)
	text, contentType = l.rewrite(s, resp, body)
	if now := resp.Headers.Get(message.ContentType); now != before || now != "" && text == body {
		return text, ""
	}
	return text, contentType
}

// rewrite applies the first mapper that matches, then the body format: it changes the status and the headers of resp and
// returns the body and its content type.
func (l *localReply) rewrite(s *stream, resp *message.Response, body string) (text, contentType string) {
	s.info.ResponseCode = resp.Status
	s.Format.Response = resp
	use := l.body
	for i := range l.mappers {
		m := &l.mappers[i]
		if m.filter == nil || !m.filter.Match(&s.Format) {
			continue
		}
		if m.hasText {
			body = m.text
		}
		m.headers.Apply(&s.Stream, &resp.Headers)
		if m.status != 0 {
			resp.Status, s.info.ResponseCode = m.status, m.status
		}
		if m.body != nil {
			use = m.body
		}
		break
	}
	s.info.LocalReplyBody = body
	if use == nil {
		return body, "text/plain"
	}
	return s.Arena.End(use.format.Append(s.Arena.Begin(), &s.Format)), use.contentType
}
