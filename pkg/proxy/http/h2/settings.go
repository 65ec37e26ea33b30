package h2

import (
	"encoding/binary"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// greet adds the first frames of our side: SETTINGS and the connection's window.
func (c *link) greet(own []byte, custom []model.HTTP2Setting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	if c.client {
		c.out = append(c.out, preface...)
	}
	if c.limits.table != defaultTable {
		own = appendSetting(own, settingHeaderTableSize, uint32(c.limits.table))
	}
	if c.limits.streamWindow != initialWindow {
		own = appendSetting(own, settingInitialWindowSize, uint32(c.limits.streamWindow))
	}
	own = appendSetting(own, settingMaxHeaderListSize, uint32(c.limits.headerBytes))
	for _, s := range custom {
		if !ownSetting(settingID(s.ID)) {
			own = appendSetting(own, settingID(s.ID), s.Value)
		}
	}
	c.out = append(appendFrameHeader(c.out, len(own), frameSettings, 0, 0), own...)
	if n := c.limits.connWindow - initialWindow; n > 0 {
		c.out = appendWindowUpdate(c.out, 0, n)
		c.recvWindow += n
	}
	c.flushSoon()
}

// ownSetting tells parameters that options of their own set, or that would promise what we do not do.
func ownSetting(id settingID) bool {
	return slices.Contains([]settingID{
		settingHeaderTableSize, settingEnablePush, settingMaxStreams, settingInitialWindowSize, settingMaxFrameSize,
		settingMaxHeaderListSize, settingConnectProtocol,
	}, id)
}

func (c *link) onSettings(h frameHeader, p []byte) error {
	switch {
	case h.stream != 0:
		return connErrorf(codeProtocol, "SETTINGS on stream %d", h.stream)
	case h.has(flagAck) && len(p) != 0, len(p)%settingLen != 0:
		return connErrorf(codeFrameSize, "SETTINGS of %d bytes", len(p))
	case h.has(flagAck) && !c.greeted:
		return connErrorf(codeProtocol, "the first frame is an acknowledgement")
	case h.has(flagAck):
		c.acknowledged()
		return nil
	}
	c.greeted = true
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.settledOnce {
		c.peerStreams = maxWindow // unlimited, unless this frame says otherwise
	}
	for ; len(p) > 0; p = p[settingLen:] {
		if err := c.setting(settingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	if err := c.answer(); err != nil {
		return err
	}
	c.out = appendFrameHeader(c.out, 0, frameSettings, flagAck, 0)
	c.settledOnce = true
	c.side.settled()
	return nil
}

// acknowledged makes our initial window hold for the streams that there are, too.
func (c *link) acknowledged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	delta := c.limits.streamWindow - c.ownWindow
	c.ownWindow = c.limits.streamWindow
	for _, st := range c.streams {
		st.recvWindow += delta
	}
}

// setting takes one parameter of the peer. The caller holds mu.
func (c *link) setting(id settingID, v uint32) error {
	switch id {
	case settingHeaderTableSize:
		c.enc.setMax(v)
	case settingEnablePush:
		if v > 1 || c.client && v == 1 {
			return connErrorf(codeProtocol, "SETTINGS_ENABLE_PUSH %d", v)
		}
	case settingMaxStreams:
		c.peerStreams = v
	case settingInitialWindowSize:
		if v > maxWindow {
			return connErrorf(codeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE %d", v)
		}
		delta := int(v) - c.peerWindow
		c.peerWindow = int(v)
		for _, st := range c.streams {
			if !st.grow(delta) {
				return connErrorf(codeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE %d makes a window exceed 2^31-1", v)
			}
		}
	case settingMaxFrameSize:
		if v < maxPayload || v > 1<<24-1 {
			return connErrorf(codeProtocol, "SETTINGS_MAX_FRAME_SIZE %d", v)
		}
	case settingConnectProtocol:
		if v > 1 {
			return connErrorf(codeProtocol, "SETTINGS_ENABLE_CONNECT_PROTOCOL %d", v)
		}
		c.peerConnect = v == 1
	}
	return nil
}
