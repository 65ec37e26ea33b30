package grpclog

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
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

// TestMetadataIsKept is the same for what filters have noted.
func TestMetadataIsKept(t *testing.T) {
	buffer := []byte("value")
	wire := unsafe.String(&buffer[0], len(buffer))
	m := dynamicMetadata(map[string]map[string]any{"filter": {"text": wire, "nested": map[string]any{wire: []any{wire, "\xff"}}}})
	copy(buffer, "other")
	want := map[string]any{"text": "value", "nested": map[string]any{"value": []any{"value", "!"}}}
	if diff := cmp.Diff(want, m.GetFilterMetadata()["filter"].AsMap()); diff != "" {
		t.Error(diff)
	}
}
