package hcm

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// abortion is why a stream was given up from outside its goroutine. Status is that of the reply, 0 for none.
type abortion struct {
	status  int
	body    string
	details string
	flags   streaminfo.Flags
}

// Error implements error.
func (a *abortion) Error() string { return "stream given up: " + a.details }

// errDownstreamGone is given to blocked calls when the client has left; read only.
var errDownstreamGone = &abortion{details: "downstream_remote_disconnect", flags: streaminfo.DownstreamConnectionTermination}

// stream is one request. It is pooled, and implements filter.Host for its own filter.Stream.
type stream struct {
	filter.Stream
	conn  *connection
	src   codec.ServerStream
	index int // in conn.active, guarded by conn.mu

	resp     message.Response
	info     streaminfo.Info
	table    *router.Table
	route    filter.Route
	routed   bool
	random   uint64
	scratch  []filter.HTTP
	reqBody  requestBody
	respBody responseBody
	reply    message.Bytes
	internal bool
	alone    bool        // the router is the only filter
	written  atomic.Bool // the response head is being written
	rescued  *abortion   // the abort whose reply went through the filters

	activity atomic.Uint32 // changes when a body moves
	seen     uint32        // activity at the last sweep
	seenAt   time.Time     // when it last changed; of the sweep
	loggedAt time.Time     // of the last periodic access log entry; of the sweep
	snapshot *snapshot     // what such entries say; guarded by conn.mu
	idle     time.Duration // stream idle timeout; guarded by mu
	life     time.Duration // maximum stream duration; guarded by mu

	mu      sync.Mutex
	target  filter.Aborter
	aborted atomic.Pointer[abortion] // set under mu
	ender   filter.Ender
}

var (
	_ filter.Host    = (*stream)(nil)
	_ filter.Rescuer = (*stream)(nil)
)

func newStream() *stream {
	s := &stream{}
	s.reqBody.s, s.respBody.s = s, s
	s.Stream.Host = s
	s.Stream.Aborted = func() error {
		if a := s.abortion(); a != nil {
			return a
		}
		return nil
	}
	return s
}

// begin takes the stream up. What release has emptied is empty already.
func (s *stream) begin(c *connection, src codec.ServerStream) {
	m := c.m
	req := src.Request()
	var start time.Time
	if c.many {
		start = time.Now()
	} else {
		start = c.timing.begun
	}
	s.conn, s.src = c, src
	s.Request, s.Response, s.Info = req, &s.resp, &s.info
	s.info.Conn, s.info.Start = c.fc.Info, start
	s.info.StreamID = c.streamID()
	if s.info.Protocol = req.Version.String(); req.Method == "" { // the first line was none, or did not come to its end
		s.info.Protocol = ""
	}
	s.Format.Info, s.Format.Request, s.Format.Type = &s.info, req, format.DownstreamEnd
	s.routed, s.internal, s.alone, s.random = false, false, false, random()
	s.written.Store(false)
	s.rescued = nil
	s.seen, s.seenAt, s.loggedAt = s.activity.Load(), start, start
	s.idle, s.life = m.cfg.StreamIdleTimeout, m.cfg.MaxStreamDuration
	s.reqBody.begin(req.Body)
	if req.Body != nil {
		req.Body = &s.reqBody
	} else {
		s.reqBody.endAt.Store(1) // with the head, which came when the stream began
	}
	m.stats.rqTotal.Inc()
	m.stats.rqActive.Inc()
	if c.many {
		m.stats.rqHTTP2Total.Inc()
	} else {
		m.stats.rqHTTP1Total.Inc()
	}
	c.countAgent(req)
	c.add(s)
}

// process runs the request through what the manager itself does with it and through the filters.
func (s *stream) process() (*message.Response, error) {
	m := s.conn.m
	s.refreshTable()
	if r := s.checkRequest(); r != nil {
		return r, nil
	}
	if r := s.mutateRequest(); r != nil {
		return r, nil
	}
	rt := s.Route(&s.Stream)
	use := &m.chain
	if s.Request.Protocol != "" || s.Request.Method == "CONNECT" {
		up, ok := s.allowUpgrade(&rt)
		if !ok {
			m.stats.rqUpgradeRefused.Inc()
			return s.Reply(&s.Stream, filter.Reply{Status: 403, Details: "upgrade_failed"}), nil
		}
		if up != nil {
			use = up
		}
	}
	if m.cfg.LogOnNewRequest {
		s.logAs(format.DownstreamStart)
	}
	if m.cfg.AccessLogInterval > 0 {
		s.takeSnapshot(nil)
	}
	for {
		var list []filter.HTTP
		list, s.scratch = use.choose(&s.Stream, &rt, s.scratch)
		s.SetChain(list)
		s.alone = len(list) == 1
		resp, err := s.Next()
		if err != filter.ErrRestart {
			return resp, err
		}
		rt = s.Route(&s.Stream) // of the request as it is now
	}
}

// deliver sends what came of the request.
func (s *stream) deliver(resp *message.Response, err error) {
	if a := s.abortion(); a != nil && a != s.rescued {
		resp, err = s.abandoned(a)
	} else if err != nil {
		resp, err = s.failed(err)
	}
	if resp == nil {
		s.noteCutOff()
		s.src.Reset(err)
		return
	}
	at := s.headTime()
	if d := s.conn.fc.Drain; d != nil && d.Due() || s.conn.m.deps.lastResponse() {
		s.conn.drainOnce()
	}
	s.finalizeResponse(resp, at)
	s.info.ResponseCode = resp.Status
	if !s.info.HealthCheck { // as in Envoy, they are not traffic
		s.conn.m.stats.response(resp.Status)
	}
	s.Format.Response = resp
	s.info.Timing.FirstDownstreamTx = at
	if resp.Body != nil {
		s.respBody.begin(resp.Body)
		resp.Body = &s.respBody
	}
	if s.conn.closing.Load() && !s.conn.many {
		s.src.CloseAfter()
	}
	if err = s.write(resp); err != nil {
		s.broken(err)
	}
}

// sinceStart is the age of the stream in nanoseconds, as it stands in Timing.
func (s *stream) sinceStart() int64 { return max(1, int64(time.Since(s.info.Start))) }

// headTime is when the response was there: when it came from the upstream, if nothing but the router had it since.
func (s *stream) headTime() int64 {
	if at := s.info.Timing.FirstUpstreamRx; s.alone && at > 0 && s.info.LocalReplyBody == "" {
		return at
	}
	return s.sinceStart()
}

// write sends the response, whose head is complete.
func (s *stream) write(resp *message.Response) error {
	m := s.conn.m
	if resp.Upgraded {
		m.stats.cxUpgradesTotal.Inc()
		m.stats.cxUpgrades.Inc()
		if m.cfg.LogOnTunnel {
			s.logAs(format.DownstreamTunnel)
		}
	}
	if m.cfg.AccessLogInterval > 0 {
		s.takeSnapshot(resp)
	}
	s.written.Store(true)
	err := s.src.WriteResponse(resp)
	s.info.Timing.LastDownstreamTx = s.sinceStart()
	if resp.Upgraded {
		m.stats.cxUpgrades.Dec()
	}
	return err
}

// finish accounts for the stream, logs it and gives it back.
func (s *stream) finish() {
	m := s.conn.m
	s.conn.remove(s)
	if !s.RequestComplete(&s.Stream) && s.info.ResponseCode != 0 && s.info.Flags == 0 {
		m.stats.rqBeforeComplete.Inc()
	}
	n := s.src.Counts()
	s.info.BytesReceived, s.info.BytesSent = n.RequestBody, n.ResponseBody
	s.info.RequestHeaderBytes, s.info.ResponseHeaderBytes = n.RequestHeader, n.ResponseHeader
	s.info.ResponseTrailerBytes = n.ResponseTrailer
	if s.ender != nil {
		s.ender.End()
	}
	s.End()
	s.endTime()
	m.stats.rqTime.Record(uint64(s.info.Duration.Milliseconds()))
	m.stats.rqActive.Dec()
	if len(m.logs) > 0 {
		m.logs.Log(&s.Format)
	}
	if s.ender != nil {
		s.ender.Release()
	}
	s.Stream.Release()
	s.Request.Body = s.reqBody.src
	s.release()
}

// endTime notes the end, which is that of the response when there was one.
func (s *stream) endTime() {
	end := s.info.Timing.LastDownstreamTx
	if end == 0 {
		end = s.sinceStart()
	}
	s.info.Duration = time.Duration(end)
	if !s.conn.many {
		t := &s.conn.timing
		t.endedAt = int64(s.info.Start.Sub(s.conn.start)) + end
	}
}

// release empties the stream, so that begin finds it as new and nothing is kept alive by it.
func (s *stream) release() {
	s.conn, s.src, s.Request, s.ender, s.target, s.table = nil, nil, nil, nil, nil, nil
	s.aborted.Store(nil)
	s.snapshot = nil
	s.Format = format.Context{}
	s.route = filter.Route{}
	s.SetChain(nil)
	s.Arena.Reset()
	s.resp.Reset()
	s.info.Reset()
	s.reqBody.src, s.respBody.src = nil, nil
}

func (s *stream) abortion() *abortion { return s.aborted.Load() }

// abort gives the stream up; the first reason counts. It may be called from any goroutine while the stream is active.
func (s *stream) abort(a *abortion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.aborted.CompareAndSwap(nil, a) {
		return
	}
	if s.target != nil {
		s.target.Abort(a)
	}
	s.src.Abort(a)
}
