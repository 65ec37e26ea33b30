package h1

import "encoding/binary"

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

// cleanValue tells whether a field value is free of control characters other than tab (RFC 9110 section 5.5). It looks at
// eight bytes at a time and at single ones only where a word has a byte below 0x20 or 0x7f.
func cleanValue(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		low := (w - ones*0x20) &^ w
		del := w ^ ones*0x7f
		del = (del - ones) &^ del
		if (low|del)&highs != 0 && !cleanBytes(b[:8]) {
			return false
		}
		b = b[8:]
	}
	return cleanBytes(b)
}

func cleanBytes(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
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
