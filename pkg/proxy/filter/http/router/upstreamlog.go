package httprouter

import (
	"time"

	"github.com/weir-proxy/weir/pkg/observe/format"
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
}

// endLog writes the entries about the attempt that is over, if there is one that was not written yet. flags say how it failed.
func (x *exchange) endLog(flags streaminfo.Flags) {
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
