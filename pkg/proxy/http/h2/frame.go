package h2

import (
	"encoding/binary"
	"fmt"
)

// preface is what a client of HTTP/2 sends first (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frameType is the type of a frame (RFC 9113 section 6).
type frameType uint8

const (
	frameData         frameType = 0x0
	frameHeaders      frameType = 0x1
	framePriority     frameType = 0x2
	frameRSTStream    frameType = 0x3
	frameSettings     frameType = 0x4
	framePushPromise  frameType = 0x5
	framePing         frameType = 0x6
	frameGoAway       frameType = 0x7
	frameWindowUpdate frameType = 0x8
	frameContinuation frameType = 0x9
	// frameMetadata is Envoy's extension.
	frameMetadata frameType = 0x4d
)

// Flags of frames; their meaning depends on the type.
const (
	flagAck        uint8 = 0x1
	flagEndStream  uint8 = 0x1
	flagEndHeaders uint8 = 0x4
	flagPadded     uint8 = 0x8
	flagPriority   uint8 = 0x20
)

// settingID names a parameter (RFC 9113 section 6.5.2, RFC 8441 section 3).
type settingID uint16

const (
	settingHeaderTableSize   settingID = 0x1
	settingEnablePush        settingID = 0x2
	settingMaxStreams        settingID = 0x3
	settingInitialWindowSize settingID = 0x4
	settingMaxFrameSize      settingID = 0x5
	settingMaxHeaderListSize settingID = 0x6
	settingConnectProtocol   settingID = 0x8
)

// Sizes in bytes.
const (
	frameHeaderLen = 9
	// maxPayload is what we let the peer send in a frame, and what we send at most: the protocol's default and minimum.
	maxPayload = 16 << 10
	settingLen = 6
	pingLen    = 8
	// initialWindow is the size of all windows before anything was said about them.
	initialWindow = 65535
	maxWindow     = 1<<31 - 1
	maxStreamID   = 1<<31 - 1
)

// errCode is an error code (RFC 9113 section 7).
type errCode uint32

const (
	codeNo            errCode = 0x0
	codeProtocol      errCode = 0x1
	codeInternal      errCode = 0x2
	codeFlowControl   errCode = 0x3
	codeStreamClosed  errCode = 0x5
	codeFrameSize     errCode = 0x6
	codeRefusedStream errCode = 0x7
	codeCancel        errCode = 0x8
	codeCompression   errCode = 0x9
	codeEnhanceCalm   errCode = 0xb
)

// codeNames is indexed by errCode; read only.
var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String is the name of the code.
func (c errCode) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("error code %d", uint32(c))
}

// frameHeader is what every frame begins with.
type frameHeader struct {
	length int
	typ    frameType
	flags  uint8
	stream uint32
}

func (h frameHeader) has(flag uint8) bool { return h.flags&flag != 0 }

// parseFrameHeader reads the first frameHeaderLen bytes of b.
func parseFrameHeader(b []byte) frameHeader {
	_ = b[frameHeaderLen-1]
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), typ: frameType(b[3]), flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

// appendFrameHeader appends the header of a frame with n bytes of payload.
func appendFrameHeader(b []byte, n int, typ frameType, flags uint8, stream uint32) []byte {
	return append(b, byte(n>>16), byte(n>>8), byte(n), byte(typ), flags, byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// appendReset appends a RST_STREAM frame.
func appendReset(b []byte, stream uint32, code errCode) []byte {
	b = appendFrameHeader(b, 4, frameRSTStream, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// appendWindowUpdate appends a WINDOW_UPDATE frame; stream 0 is the connection.
func appendWindowUpdate(b []byte, stream uint32, n int) []byte {
	b = appendFrameHeader(b, 4, frameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// appendPing appends a PING frame.
func appendPing(b []byte, ack bool, data [pingLen]byte) []byte {
	flags := uint8(0)
	if ack {
		flags = flagAck
	}
	return append(appendFrameHeader(b, pingLen, framePing, flags, 0), data[:]...)
}

// appendGoAway appends a GOAWAY frame without debug data.
func appendGoAway(b []byte, last uint32, code errCode) []byte {
	b = appendFrameHeader(b, 8, frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// appendSetting appends one parameter of a SETTINGS payload.
func appendSetting(b []byte, id settingID, value uint32) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(id))
	return binary.BigEndian.AppendUint32(b, value)
}
