package hcm

import (
	"maps"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// snapshot is what a periodic access log entry is made of: a copy of what was known about the stream when its filters
// began, then when its response did, since the sweep that writes it must not look at what the stream is working on.
type snapshot struct {
	context  format.Context
	info     streaminfo.Info
	request  message.Request
	response message.Response
}

// logAs writes an access log entry of another kind than the last one.
func (s *stream) logAs(t format.LogType) {
	s.Format.Type = t
	s.conn.m.logs.Log(&s.Format)
	s.Format.Type = format.DownstreamEnd
}

// takeSnapshot is called on the stream's goroutine; resp is nil before there is a response.
func (s *stream) takeSnapshot(resp *message.Response) {
	n := &snapshot{context: s.Format, info: s.info}
	n.request = *s.Request
	n.request.Headers, n.request.Body = message.Headers{}, nil
	n.request.Headers.CopyFrom(&s.Request.Headers)
	if resp != nil {
		n.response = *resp
		n.response.Headers, n.response.Body = message.Headers{}, nil
		n.response.Headers.CopyFrom(&resp.Headers)
		n.context.Response = &n.response
	}
	n.info.Dynamic, n.info.FilterState = maps.Clone(s.info.Dynamic), maps.Clone(s.info.FilterState)
	for name, values := range n.info.Dynamic {
		n.info.Dynamic[name] = maps.Clone(values)
	}
	n.context.Info, n.context.Request, n.context.Type = &n.info, &n.request, format.DownstreamPeriodic
	s.conn.mu.Lock()
	s.snapshot = n
	s.conn.mu.Unlock()
}

// logPeriodically writes an entry when the interval is over. It runs on the wheel's goroutine under the connection's lock,
// and waits only when the log has fallen behind by megabytes.
func (s *stream) logPeriodically(now time.Time) {
	m := s.conn.m
	if s.snapshot == nil || now.Sub(s.loggedAt) < m.cfg.AccessLogInterval {
		return
	}
	s.loggedAt = now
	counts := s.src.Counts()
	info := &s.snapshot.info
	info.BytesReceived, info.BytesSent = counts.RequestBody, counts.ResponseBody
	info.RequestHeaderBytes, info.ResponseHeaderBytes = counts.RequestHeader, counts.ResponseHeader
	m.logs.Log(&s.snapshot.context)
}
