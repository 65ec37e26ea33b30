package format

import (
	"strconv"
	"time"
)

// timeDefault is the time format when none is given.
const timeDefault = "%Y-%m-%dT%H:%M:%E3SZ"

func timeOperators() map[string]operator {
	start := func(c *Context) (time.Time, bool) {
		if c.Info == nil || c.Info.Start.IsZero() {
			return time.Time{}, false
		}
		return c.Info.Start, true
	}
	now := func(c *Context) (time.Time, bool) {
		if c.Now.IsZero() {
			return time.Now(), true
		}
		return c.Now, true
	}
	ms := time.Millisecond
	return map[string]operator{
		"START_TIME":           timeOperator(start, time.UTC),
		"START_TIME_LOCAL":     timeOperator(start, time.Local),
		"EMIT_TIME":            timeOperator(now, time.UTC),
		"EMIT_TIME_LOCAL":      timeOperator(now, time.Local),
		"DURATION":             number(appendDuration),
		"COMMON_DURATION":      {args: argsRequired, kind: kindNumber, bind: bindCommonDuration},
		"REQUEST_DURATION":     number(durationBetween("DS_RX_BEG", "DS_RX_END", ms)),
		"REQUEST_TX_DURATION":  number(durationBetween("DS_RX_BEG", "US_TX_END", ms)),
		"RESPONSE_DURATION":    number(durationBetween("DS_RX_BEG", "US_RX_BEG", ms)),
		"RESPONSE_TX_DURATION": number(durationBetween("US_RX_BEG", "DS_TX_END", ms)),
		"ROUNDTRIP_DURATION":   number(never),
		// The handshake ends before a stream begins and is not kept.
		"DOWNSTREAM_HANDSHAKE_DURATION": number(never),
		"UPSTREAM_CONNECTION_POOL_READY_DURATION": number(func(dst []byte, c *Context) ([]byte, bool) {
			if c.Info == nil || c.Info.Timing.FirstUpstreamTx == 0 {
				return dst, false
			}
			return strconv.AppendInt(dst, c.Info.Timing.FirstUpstreamTx/int64(ms), 10), true
		}),
	}
}

func appendDuration(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil || c.Info.Duration == 0 {
		return dst, false
	}
	return strconv.AppendInt(dst, c.Info.Duration.Milliseconds(), 10), true
}

func timeOperator(of func(*Context) (time.Time, bool), zone *time.Location) operator {
	return operator{args: argsOptional, bind: func(layout string) (appender, error) {
		if layout == "" {
			layout = timeDefault
		}
		f, err := compileTime(layout)
		if err != nil {
			return nil, err
		}
		return func(dst []byte, c *Context) ([]byte, bool) {
			t, ok := of(c)
			if !ok {
				return dst, false
			}
			return f.append(dst, t.In(zone)), true
		}, nil
	}}
}
