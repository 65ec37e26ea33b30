package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"fmt"
	"math"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// SETTINGS parameters that have a meaning for the translator (RFC 9113 section 6.5.2, RFC 8441 section 3).
const (
	settingHeaderTableSize      = 0x1
	settingEnablePush           = 0x2
	settingMaxConcurrentStreams = 0x3
	settingInitialWindowSize    = 0x4
	settingMaxFrameSize         = 0x5
	settingEnableConnect        = 0x8
)

// defaultKeepaliveJitter is Envoy's, in percent of the interval.
const defaultKeepaliveJitter = 15

// http2 translates HTTP/2 options; nil gives the defaults. tolerant is the connection manager's
// stream_error_on_invalid_http_message, nil where there is none.
func (c *call) http2(m *corev3.Http2ProtocolOptions, tolerant *wrapperspb.BoolValue, p *path) model.HTTP2Options {
	out := model.HTTP2Options{
		MaxConcurrentStreams:                m.GetMaxConcurrentStreams().GetValue(),
		InitialStreamWindowSize:             m.GetInitialStreamWindowSize().GetValue(),
		InitialConnectionWindowSize:         m.GetInitialConnectionWindowSize().GetValue(),
		HPACKTableSize:                      orNone(m.GetHpackTableSize()),
		MaxOutboundFrames:                   m.GetMaxOutboundFrames().GetValue(),
		MaxOutboundControlFrames:            m.GetMaxOutboundControlFrames().GetValue(),
		MaxConsecutiveInboundEmptyFrames:    orNone(m.GetMaxConsecutiveInboundFramesWithEmptyPayload()),
		MaxInboundPriorityFramesPerStream:   orNone(m.GetMaxInboundPriorityFramesPerStream()),
		MaxInboundWindowUpdatesPerDataFrame: m.GetMaxInboundWindowUpdateFramesPerDataFrameSent().GetValue(),
		StreamErrorOnInvalid:                m.GetStreamErrorOnInvalidHttpMessaging(),
		AllowConnect:                        m.GetAllowConnect(),
		AllowMetadata:                       m.GetAllowMetadata(),
	}
	switch override := m.GetOverrideStreamErrorOnInvalidHttpMessage(); {
	case override != nil:
		out.StreamErrorOnInvalid = override.GetValue()
	case tolerant != nil:
		out.StreamErrorOnInvalid = tolerant.GetValue()
	}
	if k := m.GetConnectionKeepalive(); k != nil {
		at := p.field("connection_keepalive")
		out.KeepaliveInterval = c.duration(k.GetInterval(), 0, at, "interval")
		out.KeepaliveTimeout = c.duration(k.GetTimeout(), 0, at, "timeout")
		out.KeepaliveIdleInterval = c.duration(k.GetConnectionIdleInterval(), 0, at, "connection_idle_interval")
		out.KeepaliveJitterPercent = defaultKeepaliveJitter
		if k.GetIntervalJitter() != nil {
			out.KeepaliveJitterPercent = k.GetIntervalJitter().GetValue()
		}
	}
	c.customSettings(m, &out, p)
	return out
}

// orNone is the value of a limit that may be 0: absent is 0, the default, and 0 is HTTP2None.
func orNone(v *wrapperspb.UInt32Value) uint32 {
	if v != nil && v.GetValue() == 0 {
		return model.HTTP2None
	}
	return v.GetValue()
}

// customSettings translates parameters that are given by number. Those that have a field of their own go there.
func (c *call) customSettings(m *corev3.Http2ProtocolOptions, out *model.HTTP2Options, p *path) {
	const name = "custom_settings_parameters"
	values := map[uint16]uint32{}
	var inconsistent, twice []string
	for i, s := range m.GetCustomSettingsParameters() {
		id, value, at := uint16(s.GetIdentifier().GetValue()), s.GetValue().GetValue(), p.elem(name, i)
		if old, seen := values[id]; seen {
			if old != value {
				inconsistent = append(inconsistent, fmt.Sprintf("0x%02x", id))
			}
			continue
		}
		values[id] = value
		switch {
		case id == settingHeaderTableSize && m.GetHpackTableSize() != nil:
			twice = append(twice, "hpack_table_size")
		case id == settingMaxConcurrentStreams && m.GetMaxConcurrentStreams() != nil:
			twice = append(twice, "max_concurrent_streams")
		case id == settingInitialWindowSize && m.GetInitialStreamWindowSize() != nil:
			twice = append(twice, "initial_stream_window_size")
		default:
			c.customSetting(model.HTTP2Setting{ID: id, Value: value}, out, at)
		}
	}
	if inconsistent != nil {
		c.fail(p.field(name), "inconsistent HTTP/2 custom SETTINGS parameter(s) detected; identifiers = {%s}", strings.Join(inconsistent, ","))
	}
	if twice != nil {
		c.fail(p.field(name), "the {%s} HTTP/2 SETTINGS parameter(s) can not be configured through both named and custom parameters", strings.Join(twice, ","))
	}
}

// customSetting takes one parameter over.
func (c *call) customSetting(s model.HTTP2Setting, out *model.HTTP2Options, p *path) {
	switch s.ID {
	case settingHeaderTableSize:
		out.HPACKTableSize = orNone(wrapperspb.UInt32(s.Value))
	case settingMaxConcurrentStreams:
		if s.Value < 1 || s.Value > math.MaxInt32 {
			c.fail(p, "max_concurrent_streams must be inside range [1, 2147483647]")
		}
		out.MaxConcurrentStreams = s.Value
	case settingInitialWindowSize:
		if s.Value < 65535 || s.Value > math.MaxInt32 {
			c.fail(p, "initial_stream_window_size must be inside range [65535, 2147483647]")
		}
		out.InitialStreamWindowSize = s.Value
	case settingEnablePush:
		if s.Value != 0 { // 0 is what the codec says anyway
			c.fail(p, "server push is not supported and can not be enabled via a SETTINGS parameter")
		}
	case settingEnableConnect:
		c.fail(p, `the "allow_connect" SETTINGS parameter must only be configured through the named field`)
	case settingMaxFrameSize:
		if s.Value < 1<<14 || s.Value > 1<<24-1 {
			c.fail(p, "SETTINGS_MAX_FRAME_SIZE must be inside range [16384, 16777215]")
		}
		out.Settings = append(out.Settings, s)
	default:
		out.Settings = append(out.Settings, s)
	}
}
