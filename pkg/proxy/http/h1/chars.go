package h1

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes.
const (
	isToken     uint8 = 1 << iota // tchar, RFC 9110 section 5.6.2
	isTarget                      // allowed in a request target; bytes above 0x7f are let through
	isAuthority                   // allowed in host[:port], RFC 3986 section 3.2
)

// class is indexed by byte; read only.
var class = buildClass()

func buildClass() (t [256]uint8) {
	for c := range 256 {
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if alnum {
			t[c] = isToken | isAuthority
		}
		if c > ' ' && c != 0x7f {
			t[c] |= isTarget
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= isToken
	}
	for _, c := range "-._~%!$&'()*+;=:[]" {
		t[c] |= isAuthority
	}
	return t
}

// all tells whether every byte of b is of class want.
func all(b []byte, want uint8) bool {
	for _, c := range b {
		if class[c]&want == 0 {
			return false
		}
	}
	return true
}

// Words for looking at eight bytes at a time.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// stop returns the index of the first byte of b that is below the limit or is DEL, len(b) when there is none. The limit is
// at most 0x80 and comes repeated in all bytes.
func stop(b []byte, limits uint64) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		low := (w - limits) &^ w
		del := w ^ ones*0x7f
		del = (del - ones) &^ del
		if hit := (low | del) & highs; hit != 0 { // the lowest mark is true, those above may be borrowed
			return i + bits.TrailingZeros64(hit)>>3
		}
	}
	for ; i < len(b); i++ {
		if b[i] < byte(limits) || b[i] == 0x7f {
			break
		}
	}
	return i
}

// valueEnd returns the index of the first control character other than tab (RFC 9110 section 5.5), len(b) when there is
// none.
func valueEnd(b []byte) int {
	i := stop(b, ones*0x20)
	for i < len(b) && b[i] == '\t' {
		i += 1 + stop(b[i+1:], ones*0x20)
	}
	return i
}

// targetEnd returns the index of the first space, control character or DEL, len(b) when there is none.
func targetEnd(b []byte) int { return stop(b, ones*0x21) }

// cleanValue tells whether a field value is free of control characters other than tab.
func cleanValue(b []byte) bool { return valueEnd(b) == len(b) }

// lowerCase turns ASCII letters of b into lower-case ones.
func lowerCase(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		ascii := w &^ highs
		beyond := ascii + ones*(0x7f-'Z')
		letter := ascii + ones*(0x80-'A')
		binary.LittleEndian.PutUint64(b, w|((letter^beyond)&highs&^w)>>2)
	}
	for i, c := range b {
		b[i] = lowerByte(c)
	}
}

// properCase is Envoy's: the first character, and each one after a character that is neither letter nor digit, is a capital,
// all others are lower-case.
func properCase(b []byte) {
	capital := true
	for i, c := range b {
		c = lowerByte(c)
		letter := 'a' <= c && c <= 'z'
		if capital && letter {
			c -= 'a' - 'A'
		}
		capital = !letter && (c < '0' || c > '9')
		b[i] = c
	}
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// trimOWS removes spaces and tabs on both sides.
func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares with a lower-case word, ASCII without case.
func equalFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// nextItem splits the first element off a comma-separated list and trims it; ok is false at the end.
func nextItem(list string) (item, rest string, ok bool) {
	if list == "" {
		return "", "", false
	}
	end := 0
	for end < len(list) && list[end] != ',' {
		end++
	}
	item, rest = list[:end], ""
	if end < len(list) {
		rest = list[end+1:]
	}
	for item != "" && (item[0] == ' ' || item[0] == '\t') {
		item = item[1:]
	}
	for item != "" && (item[len(item)-1] == ' ' || item[len(item)-1] == '\t') {
		item = item[:len(item)-1]
	}
	return item, rest, true
}
