package filter

import (
	"strings"
	"testing"
)

func TestArenaKeepsStrings(t *testing.T) {
	var a Arena
	var got []string
	want := []string{"", "short", strings.Repeat("long", 400), "42", "a,b"}
	got = append(got, a.Join(), a.Join("sh", "ort"), a.Join(want[2]), a.Int(42))
	b := append(a.Begin(), 'a')
	got = append(got, a.End(append(b, ",b"...)))
	for range 100 {
		a.Join("filler", "filler")
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("string %d became %q", i, got[i])
		}
	}
}

func TestArenaDoesNotAllocate(t *testing.T) {
	var a Arena
	if n := testing.AllocsPerRun(100, func() {
		a.Reset()
		if a.Join("x-", "forwarded") != "x-forwarded" || a.Int(7) != "7" {
			t.Fatal("wrong string")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
