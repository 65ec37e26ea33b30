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
	start  int // where it began in b
	lines  int
}

func (h *head) requestLine(method, target string) {
	h.b = append(append(append(append(h.b, method...), ' '), target...), " HTTP/1.1\r\n"...)
	h.lines++
}

func (h *head) statusLine(status int) {
	h.b = append(h.b, "HTTP/1.1 "...)
	h.b = append(strconv.AppendInt(h.b, int64(status), 10), ' ')
	reason := http.StatusText(status)
	if reason == "" {
		reason = "Unknown"
	}
	h.b = append(append(h.b, reason...), '\r', '\n')
	h.lines++
}

func (h *head) field(name, value string) {
	h.b = append(append(h.name(name), ": "...), value...)
	h.b = append(h.b, '\r', '\n')
	h.lines++
}

func (h *head) length(n int64) {
	h.b = append(h.name("content-length"), ": "...)
	h.b = append(strconv.AppendInt(h.b, n, 10), '\r', '\n')
	h.lines++
}

// name appends a field name in the wanted form. Proper case is Envoy's: the first character, and each one after a
// character that is neither letter nor digit, is a capital.
func (h *head) name(name string) []byte {
	switch h.format {
	case model.HeaderPreserveCase:
		return append(h.b, name...)
	case model.HeaderProperCase:
		capital := true
		for i := range len(name) {
			c := lowerByte(name[i])
			letter := 'a' <= c && c <= 'z'
			if capital && letter {
				c -= 'a' - 'A'
			}
			capital = !letter && (c < '0' || c > '9')
			h.b = append(h.b, c)
		}
		return h.b
	}
	for i := range len(name) {
		h.b = append(h.b, lowerByte(name[i]))
	}
	return h.b
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// end closes the head. It refuses one whose fields brought line ends or NULs of their own, which would let a peer smuggle
// fields or messages: what was written is exactly the lines that were meant.
func (h *head) end() error {
	h.b = append(h.b, '\r', '\n')
	h.lines++
	b := h.b[h.start:]
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
	for f := range hs.All() {
		switch f.ID {
		case message.ContentLength:
			if l.show {
				h.length(l.n)
				l.show = false
			}
		case message.TransferEncoding, message.Connection, message.KeepAlive, message.ProxyConnection, message.HTTP2Settings:
		case message.Upgrade:
			if tunnel {
				h.field(f.Name, f.Value)
			}
		default:
			if f.Name != "" && f.Name[0] != ':' {
				h.field(f.Name, f.Value)
			}
		}
	}
	switch {
	case l.show:
		h.length(l.n)
	case l.chunked:
		h.field("transfer-encoding", "chunked")
	}
}
