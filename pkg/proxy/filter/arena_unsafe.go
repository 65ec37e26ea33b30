package filter

import "unsafe"

// view makes a string of bytes that nobody changes before the arena is reset.
func view(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(unsafe.SliceData(b), len(b))
}
