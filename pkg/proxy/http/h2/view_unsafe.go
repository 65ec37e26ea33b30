package h2

import "unsafe"

// view is b as a string. The bytes must not change while it is in use.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
