package hcm

import (
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// finalizeResponse adds what the connection manager says in every response; at is the age of the stream in nanoseconds.
func (s *stream) finalizeResponse(resp *message.Response, at int64) {
	m, h := s.conn.m, &resp.Headers
	cfg := m.cfg
	switch {
	case cfg.ServerHeader == model.ServerOverwrite:
		h.SetID(message.Server, m.serverName)
	case cfg.ServerHeader == model.ServerAppendIfAbsent && !h.Has(message.Server):
		h.AddID(message.Server, m.serverName)
	}
	if !h.Has(message.Date) {
		h.AddID(message.Date, m.clock.date(s.info.Start.Add(time.Duration(at))))
	}
	if cfg.Via != "" {
		appendTo(s, h, message.Via, cfg.Via)
	}
	if cfg.ResponseRequestID || s.Request.Headers.Has(message.XEnvoyForceTrace) {
		if id := s.Request.Headers.Get(message.XRequestID); id != "" {
			h.SetID(message.XRequestID, id)
		}
	}
	if cfg.ProxyStatus != nil {
		s.setProxyStatus(cfg.ProxyStatus, resp)
	}
}

// appendTo appends an element to a list header.
func appendTo(s *stream, h *message.Headers, id message.ID, element string) {
	if old := h.Get(id); old != "" {
		h.SetID(id, s.Arena.Join(old, ", ", element))
		return
	}
	h.SetID(id, element)
}

// clock renders the date header once a second (RFC 9110 section 5.6.7).
type clock struct{ now atomic.Pointer[dated] }

type dated struct {
	second int64
	text   string
}

func (c *clock) date(t time.Time) string {
	second := t.Unix()
	if d := c.now.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &dated{second, t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	c.now.Store(d)
	return d.text
}
