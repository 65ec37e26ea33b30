package h2

import (
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// nameBytes tells which bytes a field name may have: those of a token but upper case letters (RFC 9113 section 8.2.1).
// Read only.
var nameBytes = func() (t [256]bool) {
	for c := 'a'; c <= 'z'; c++ {
		t[c] = true
	}
	for _, c := range "0123456789!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// newField looks at a field.
func newField(name, value string) (f field) {
	f.setName(name)
	f.setValue(value)
	return f
}

func (f *field) setName(name string) {
	if f.pseudo = pseudoOf(name); f.pseudo != notPseudo {
		f.Name = name
		if f.pseudo != pseudoUnknown {
			f.Name = pseudoNames[f.pseudo] // a constant
		}
		return
	}
	f.badName = name == ""
	for i := range len(name) {
		if !nameBytes[name[i]] {
			f.badName = true
		}
		if name[i] == '_' {
			f.underscore = true
		}
	}
	f.Name = name
	if !f.badName {
		if f.ID = message.IDOf(name); f.ID != message.Other {
			f.Name = f.ID.Name() // a constant
		}
	}
}

// setValue sets the value, without the white space around it.
func (f *field) setValue(value string) {
	n := len(value)
	if n > 0 && (blank(value[0]) || blank(value[n-1])) {
		value = strings.Trim(value, " \t")
	}
	f.Value, f.blanks, f.badValue = value, len(value) != n, !cleanValue(value)
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// cleanValue tells whether a value is free of control characters other than tab, as HTTP/1 has it.
func cleanValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// ofOneHop are fields that no HTTP/2 message may have (RFC 9113 section 8.2.2). They are rejected on receipt and left out
// when a message of HTTP/1 is sent.
func ofOneHop(id message.ID) bool {
	switch id {
	case message.Connection, message.KeepAlive, message.ProxyConnection, message.TransferEncoding, message.Upgrade:
		return true
	}
	return false
}

// notSent are fields that are left out of what is sent: those of one hop, and those that a pseudo-header field or the
// framing replaces.
func notSent(f *message.Field, trailer bool) bool {
	switch f.ID {
	case message.Host, message.HTTP2Settings:
		return true
	case message.ContentLength:
		return true // written from the message's length
	case message.TE:
		return trailer || !strings.EqualFold(f.Value, "trailers")
	}
	return ofOneHop(f.ID) || f.Name == "" || f.Name[0] == ':'
}

// lowered is name without upper case letters, in room when it has some.
func lowered(name string, room []byte) string {
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' {
			room = append(room[:0], name...)
			for j := i; j < len(room); j++ {
				if c := room[j]; 'A' <= c && c <= 'Z' {
					room[j] = c + 'a' - 'A'
				}
			}
			return view(room)
		}
	}
	return name
}

// sendable tells whether a field can be sent without becoming something else at a hop of HTTP/1.
func sendable(name, value string) bool {
	return strings.IndexByte(value, '\n') < 0 && strings.IndexByte(value, '\r') < 0 && strings.IndexByte(value, 0) < 0 &&
		strings.IndexByte(name, '\n') < 0 && strings.IndexByte(name, '\r') < 0 && strings.IndexByte(name, 0) < 0
}

// appendFields appends the fields of a message that go over the wire, and content-length at its place unless length is
// negative. It returns their size in bytes.
func (e *encoder) appendFields(b []byte, h *message.Headers, length int64) ([]byte, int) {
	size := 0
	for i := range h.Len() {
		f := h.At(i)
		if notSent(f, false) {
			if f.ID == message.ContentLength && length >= 0 {
				b, size = e.length(b, length), size+len(f.Name)+len(f.Value)
				length = -1
			}
			continue
		}
		size += len(f.Name) + len(f.Value)
		b = e.field(b, f)
	}
	if length >= 0 {
		b = e.length(b, length)
		size += len("content-length")
	}
	return b, size
}

// length appends content-length.
func (e *encoder) length(b []byte, n int64) []byte {
	return e.write(b, &e.ids[message.ContentLength], "content-length", view(strconv.AppendInt(e.digits[:0], n, 10)))
}

// appendTrailers appends the fields of trailers and returns their size in bytes.
func (e *encoder) appendTrailers(b []byte, h *message.Headers) ([]byte, int) {
	size := 0
	for i := range h.Len() {
		if f := h.At(i); !notSent(f, true) {
			size += len(f.Name) + len(f.Value)
			b = e.field(b, f)
		}
	}
	return b, size
}
