package h2

import (
	"math"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Defaults. max_request_headers_kb 60, max_headers_count 100, the bounds of floods and the keep-alive jitter are Envoy's.
// The windows are smaller than Envoy's 256 MiB, which would let a slow reader make us hold as much; and the streams of one
// client are bounded, where Envoy has 2^31-1.
const (
	defaultMaxBytes      = 60 << 10
	defaultMaxCount      = 100
	defaultStreams       = 1024
	defaultStreamWindow  = 1 << 20
	defaultConnWindow    = 16 << 20
	defaultTable         = 4096
	defaultOutFrames     = 10000
	defaultOutControl    = 1000
	defaultEmptyFrames   = 1
	defaultPriority      = 100
	defaultWindowUpdates = 10
	defaultLinger        = time.Second
	defaultDrain         = 5 * time.Second
	// streamsBeforeSettings is how many streams a client opens before the server has told its limit.
	streamsBeforeSettings = 100
	// prematureTotal and prematureAge are Envoy's overload.premature_reset_total_stream_count and
	// premature_reset_min_stream_lifetime_seconds.
	prematureTotal = 500
	prematureAge   = time.Second
	// maxInformational bounds the informational responses of a stream that wait to be looked at.
	maxInformational = 16
	// maxTable bounds the decoder's table in bytes, whatever is configured.
	maxTable = 1 << 20
)

// limits of a connection, with defaults filled in.
type limits struct {
	headerBytes, headerCount  int
	continuations             int // CONTINUATION frames of one block
	streams                   uint32
	streamWindow, connWindow  int
	table                     int
	outFrames, outControl     int
	emptyFrames               int
	priority, windowUpdates   uint64
	streamErrors              bool
	linger                    time.Duration
	underscores               model.UnderscoresAction
	connect, metadata         bool
	ping, pingTimeout, idling time.Duration
	jitter                    float64
}

func newLimits(o *model.HTTP2Options, maxBytes, maxCount int, streams uint32) limits {
	l := limits{
		headerBytes: maxBytes, headerCount: maxCount, streams: or(o.MaxConcurrentStreams, streams),
		streamWindow: window(o.InitialStreamWindowSize, defaultStreamWindow),
		connWindow:   max(window(o.InitialConnectionWindowSize, defaultConnWindow), initialWindow),
		table:        int(min(or(o.HPACKTableSize, defaultTable), maxTable)),
		outFrames:    int(or(o.MaxOutboundFrames, defaultOutFrames)), outControl: int(or(o.MaxOutboundControlFrames, defaultOutControl)),
		emptyFrames:   int(or(o.MaxConsecutiveInboundEmptyFrames, defaultEmptyFrames)),
		priority:      uint64(or(o.MaxInboundPriorityFramesPerStream, defaultPriority)),
		windowUpdates: uint64(or(o.MaxInboundWindowUpdatesPerDataFrame, defaultWindowUpdates)),
		streamErrors:  o.StreamErrorOnInvalid, linger: defaultLinger, connect: o.AllowConnect, metadata: o.AllowMetadata,
		ping: o.KeepaliveInterval, pingTimeout: o.KeepaliveTimeout, idling: o.KeepaliveIdleInterval, jitter: o.KeepaliveJitterPercent,
	}
	if l.headerBytes <= 0 {
		l.headerBytes = defaultMaxBytes
	}
	if l.headerCount <= 0 {
		l.headerCount = defaultMaxCount
	}
	l.continuations = 8 + l.headerBytes/(8<<10)
	return l
}

// or is a configured number: 0 is the default, and model.HTTP2None is 0.
func or(n, byDefault uint32) uint32 {
	switch n {
	case 0:
		return byDefault
	case model.HTTP2None:
		return 0
	}
	return n
}

// window bounds a flow-control window in bytes to what the protocol allows.
func window(n, byDefault uint32) int { return int(min(or(n, byDefault), math.MaxInt32)) }

// flood counts what a peer sends that costs more than it is worth. It belongs to the reader.
type flood struct {
	empty      int    // empty frames in a row
	priorities uint64 // PRIORITY frames
	updates    uint64 // WINDOW_UPDATE frames
	opened     uint64 // streams
}

// emptyFrame counts a frame that may be empty and returns an error when there were too many in a row.
func (c *link) emptyFrame(payload int, end bool) error {
	if payload > 0 || end {
		c.flood.empty = 0
		return nil
	}
	if c.flood.empty++; c.flood.empty > c.limits.emptyFrames {
		c.stats.InboundEmptyFramesFlood.Inc()
		return connErrorf(codeEnhanceCalm, "too many empty frames")
	}
	return nil
}

// priorityFrame counts a PRIORITY frame; Envoy's formula. The caller holds mu.
func (c *link) priorityFrame() error {
	if c.flood.priorities++; c.flood.priorities > c.limits.priority*(1+c.flood.opened) {
		c.stats.InboundPriorityFramesFlood.Inc()
		return connErrorf(codeEnhanceCalm, "too many PRIORITY frames")
	}
	return nil
}

// windowFrame counts a WINDOW_UPDATE frame; Envoy's formula. The caller holds mu.
func (c *link) windowFrame() error {
	if c.flood.updates++; c.flood.updates > 5+2*(c.flood.opened+c.limits.windowUpdates*c.dataSent) {
		c.stats.InboundWindowUpdateFramesFlood.Inc()
		return connErrorf(codeEnhanceCalm, "too many WINDOW_UPDATE frames")
	}
	return nil
}

// controlFrame counts a frame that is to be sent because of the peer. The caller holds mu.
func (c *link) controlFrame() error {
	c.outFrames++
	if c.outControl++; c.outControl > c.limits.outControl {
		c.stats.OutboundControlFlood.Inc()
		return connErrorf(codeEnhanceCalm, "too many control frames wait to be sent")
	}
	return c.outboundFrame()
}

func (c *link) outboundFrame() error {
	if c.outFrames > c.limits.outFrames {
		c.stats.OutboundFlood.Inc()
		return connErrorf(codeEnhanceCalm, "too many frames wait to be sent")
	}
	return nil
}
