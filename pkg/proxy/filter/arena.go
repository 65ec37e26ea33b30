package filter

import "strconv"

// Arena makes strings that live as long as their stream, without allocating one each. The zero value is ready for use.
// It belongs to one goroutine. A string stays intact until Reset.
type Arena struct {
	buf []byte
	at  int // where the string being built begins
}

// arenaSize is the first size of an arena: enough for the strings that a usual request needs.
const arenaSize = 512

// Begin starts a string: append to what it returns and pass that to End. Only one string is built at a time.
func (a *Arena) Begin() []byte {
	if cap(a.buf)-len(a.buf) < 64 {
		// Strings that were made keep the old memory alive.
		a.buf = make([]byte, 0, max(arenaSize, cap(a.buf)))
	}
	a.at = len(a.buf)
	return a.buf
}

// End returns what was appended since Begin. b is the slice that Begin gave, grown by the caller.
func (a *Arena) End(b []byte) string {
	a.buf = b
	return view(b[a.at:len(b):len(b)])
}

// Join returns the parts as one string.
func (a *Arena) Join(parts ...string) string {
	b := a.Begin()
	for _, p := range parts {
		b = append(b, p...)
	}
	return a.End(b)
}

// Int returns n in decimal.
func (a *Arena) Int(n int64) string { return a.End(strconv.AppendInt(a.Begin(), n, 10)) }

// Reset forgets all strings. Memory beyond a few kilobytes is given back.
func (a *Arena) Reset() {
	if cap(a.buf) > 8*arenaSize {
		a.buf = nil
	}
	a.buf = a.buf[:0]
}
