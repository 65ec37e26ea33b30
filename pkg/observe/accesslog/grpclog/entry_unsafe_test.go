package grpclog

import (
	"testing"
	"unsafe"
)

// TestTextIsKept changes the buffer that a string from the wire lies in.
func TestTextIsKept(t *testing.T) {
	buffer := []byte("/path")
	kept := text(unsafe.String(&buffer[0], len(buffer)))
	copy(buffer, "other")
	if kept != "/path" {
		t.Errorf("the entry has %q", kept)
	}
}
