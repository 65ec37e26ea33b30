package h1

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// head is a message head that is being written.
type head struct {
	b      []byte
	format model.HeaderFormat
	names  *message.Names // nil unless the message keeps its names
	start  int            // where it began in b
	lines  int
	bad    bool // the request line cannot be sent
}

// requestLine writes the target as it is, or as a whole URL when scheme is not empty. What filters or other versions of HTTP
// brought must not make two lines, or two targets, of it.
func (h *head) requestLine(method, scheme, authority, target string) {
	at := len(h.b)
	h.b = append(append(h.b, method...), ' ')
	h.bad = method == "" || targetEnd(h.b[at:]) < len(method)
	at = len(h.b)
	if scheme != "" {
		h.b = append(append(append(h.b, scheme...), "://"...), authority...)
	}
	h.b = append(h.b, target...)
	h.bad = h.bad || targetEnd(h.b[at:]) < len(h.b)-at
	h.b = append(h.b, " HTTP/1.1\r\n"...)
	h.lines++
}

// statusLines are the lines of the registered codes; read only.
var statusLines = buildStatusLines()

const maxStatus = 600

func buildStatusLines() (t [maxStatus]string) {
	for status := range t {
		if reason := http.StatusText(status); reason != "" {
			t[status] = "HTTP/1.1 " + strconv.Itoa(status) + " " + reason + "\r\n"
		}
	}
	return t
}

func (h *head) statusLine(status int) {
	h.lines++
	if h.names == nil || h.names.Reason == "" {
		if uint(status) < maxStatus && statusLines[status] != "" {
			h.b = append(h.b, statusLines[status]...)
			return
		}
	}
	h.b = append(strconv.AppendInt(append(h.b, "HTTP/1.1 "...), int64(status), 10), ' ')
	reason := "Unknown"
	if h.names != nil && h.names.Reason != "" {
		reason = h.names.Reason
	}
	h.b = append(append(h.b, reason...), '\r', '\n')
}

// line appends a field and returns its name, to be put in the case that is wanted.
func (h *head) line(name, value string) []byte {
	h.lines++
	at := len(h.b)
	end := at + len(name) + len(value) + 4
	if end > cap(h.b) {
		h.b = append(append(append(append(h.b, name...), ": "...), value...), '\r', '\n')
		return h.b[at : at+len(name)]
	}
	h.b = h.b[:end]
	line := h.b[at:end]
	n := copy(line, name)
	line[n], line[n+1] = ':', ' '
	copy(line[n+2:], value)
	line[len(line)-2], line[len(line)-1] = '\r', '\n'
	return line[:n]
}

// field writes a field of the message.
func (h *head) field(f *message.Field) {
	switch {
	case h.names != nil && f.Received:
		h.line(f.Name, f.Value)
	case f.ID != message.Other:
		h.own(f.ID.Name(), f.Value)
	case h.proper():
		properCase(h.line(f.Name, f.Value))
	default:
		lowerCase(h.line(f.Name, f.Value))
	}
}

// own writes a field that is weir's own, of a lower-case name.
func (h *head) own(name, value string) {
	written := h.line(name, value)
	if h.format == model.HeaderProperCase || h.names != nil {
		h.spell(written)
	}
}

// spell puts the name of a field of weir's own in the case that is wanted.
func (h *head) spell(name []byte) {
	if h.names != nil {
		received := ""
		switch string(name) {
		case "host":
			received = h.names.Host
		case "transfer-encoding":
			received = h.names.TransferEncoding
		case "connection":
			received = h.names.Connection
		}
		if len(received) == len(name) {
			copy(name, received)
			return
		}
	}
	if h.proper() {
		properCase(name)
	}
}

// proper tells whether names are written in proper case that are not kept.
func (h *head) proper() bool {
	if h.names != nil {
		return h.names.Proper
	}
	return h.format == model.HeaderProperCase
}

func (h *head) length(n int64) {
	if h.format == model.HeaderProperCase || h.names != nil {
		var digits [20]byte
		h.own("content-length", view(strconv.AppendInt(digits[:0], n, 10)))
		return
	}
	h.b = append(strconv.AppendInt(append(h.b, "content-length: "...), n, 10), '\r', '\n')
	h.lines++
}

// end closes the head. It refuses one whose fields brought line ends or NULs of their own, which would let a peer smuggle
// fields or messages: what was written is exactly the lines that were meant.
func (h *head) end() error {
	h.b = append(h.b, '\r', '\n')
	h.lines++
	b := h.b[h.start:]
	if h.bad {
		h.b = h.b[:h.start]
		return errBadLine
	}
	if bytes.Count(b, lf) != h.lines || bytes.Count(b, cr) != h.lines || bytes.IndexByte(b, 0) >= 0 {
		h.b = h.b[:h.start]
		return errBadField
	}
	return nil
}

var (
	lf = []byte{'\n'}
	cr = []byte{'\r'}
)

// lengthField is what a message says about its length.
type lengthField struct {
	show    bool
	n       int64
	chunked bool
}

// fields writes the headers but for those of one hop, which the codec decides on. Content-Length goes where the message
// had it, else to the end.
func (h *head) fields(hs *message.Headers, l lengthField, tunnel bool) {
	for i := range hs.Len() {
		f := hs.At(i)
		switch f.ID {
		case message.ContentLength:
			if l.show && h.names != nil && f.Received {
				h.keptLength(f.Name, l.n)
				l.show = false
			} else if l.show {
				h.length(l.n)
				l.show = false
			}
		case message.TransferEncoding, message.Connection, message.KeepAlive, message.ProxyConnection, message.HTTP2Settings:
		case message.Upgrade:
			if tunnel {
				h.field(f)
			}
		default:
			if f.Name != "" && f.Name[0] != ':' {
				h.field(f)
			}
		}
	}
	switch {
	case l.show:
		h.length(l.n)
	case l.chunked:
		h.own("transfer-encoding", "chunked")
	}
}

// keptLength is length under the name that was received.
func (h *head) keptLength(name string, n int64) {
	var digits [20]byte
	h.line(name, view(strconv.AppendInt(digits[:0], n, 10)))
}
