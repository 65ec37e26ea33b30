package httprouter

import (
	"time"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// beginLog notes that an attempt begins, when attempts are logged.
func (x *exchange) beginLog() {
	x.tryBegan = x.s.Info.Since(time.Now())
}

// logReady writes the entries about an attempt that has got its connection, where they are wanted.
func (x *exchange) logReady() {
	if x.f.cfg.LogUpstreamStream {
		x.writeLog(format.UpstreamPoolReady, 0, 0)
	}
	if d := x.f.cfg.UpstreamLogInterval; d > 0 {
		p := x.snapshot()
		x.mu.Lock()
		x.periodic = p
		x.mu.Unlock()
		x.arm(&x.logTick, d)
	}
}

// periodicLog is what is known of an attempt at its beginning, for entries that are written while it goes on.
type periodicLog struct {
	context format.Context
	info    streaminfo.Info
	req     message.Request
	resp    message.Response
}

func (x *exchange) snapshot() *periodicLog {
	p := &periodicLog{context: x.s.Format, info: *x.s.Info, req: *x.s.Request}
	p.req.Headers = message.Headers{}
	p.req.Headers.CopyFrom(&x.s.Request.Headers)
	p.context.Info, p.context.Request, p.context.Response, p.context.Type = &p.info, &p.req, &p.resp, format.UpstreamPeriodic
	p.info.Start = x.s.Info.Start.Add(time.Duration(x.tryBegan))
	return p
}

// logPeriodically is the timer's function. It waits only when the log has fallen behind by megabytes.
func (x *exchange) logPeriodically() {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.periodic
	if p == nil {
		return
	}
	p.info.Duration = max(time.Since(p.info.Start), 1)
	x.f.deps.UpstreamLogs.Log(&p.context)
	x.logTick.timer.Arm(x.f.cfg.UpstreamLogInterval)
}

// endPeriodic ends the entries of an attempt that is over.
func (x *exchange) endPeriodic() {
	x.mu.Lock()
	x.periodic = nil
	x.mu.Unlock()
	x.disarm(&x.logTick)
}

// endLog writes the entries about the attempt that is over, if there is one that was not written yet. flags say how it failed.
func (x *exchange) endLog(flags streaminfo.Flags) {
	if x.f.cfg.UpstreamLogInterval > 0 {
		x.endPeriodic()
	}
	status := 0
	if flags == 0 && x.stream != nil {
		status = x.s.Response.Status
	}
	x.writeLog(format.UpstreamEnd, status, flags)
	x.tryBegan = 0
}

// writeLog writes entries that know of the stream what one attempt knows of it.
func (x *exchange) writeLog(kind format.LogType, status int, flags streaminfo.Flags) {
	s := x.s
	c, info := s.Format, *s.Info
	c.Info, c.Type = &info, kind
	info.Start = s.Info.Start.Add(time.Duration(x.tryBegan))
	info.Duration = max(time.Since(info.Start), 1)
	info.ResponseCode, info.Flags = status, flags
	if c.Response == nil {
		c.Response = s.Response
	}
	if x.stream != nil {
		n := x.stream.Counts()
		info.BytesReceived, info.BytesSent = n.RequestBody, n.ResponseBody
		info.RequestHeaderBytes, info.ResponseHeaderBytes, info.ResponseTrailerBytes = n.RequestHeader, n.ResponseHeader, n.ResponseTrailer
		info.Upstream.HeaderSent, info.Upstream.HeaderReceived = n.RequestHeader, n.ResponseHeader
		info.Upstream.WireSent = n.RequestHeader + n.RequestBody
		info.Upstream.WireReceived = n.ResponseHeader + n.ResponseBody + n.ResponseTrailer
	}
	x.f.deps.UpstreamLogs.Log(&c)
}
