package format

import (
	"regexp"
	"testing"
)

// TestUUID checks the form of UUIDs (RFC 9562 section 5.4), and that each of their hexadecimal digits changes.
func TestUUID(t *testing.T) {
	form := regexp.MustCompile(`^x[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := [37]map[byte]bool{}
	for range 1000 {
		id := AppendUUID([]byte("x"))
		if !form.Match(id) {
			t.Fatalf("%q is no version 4 UUID", id)
		}
		for i, c := range id {
			if seen[i] == nil {
				seen[i] = map[byte]bool{}
			}
			seen[i][c] = true
		}
	}
	for i, digits := range seen {
		want := 16
		switch i {
		case 0, 9, 14, 15, 19, 24:
			want = 1
		case 20:
			want = 4
		}
		if len(digits) != want {
			t.Errorf("digit %d has %d values, want %d", i, len(digits), want)
		}
	}
}

func BenchmarkUUID(b *testing.B) {
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendUUID(buf[:0])
	}
}
