package main

import "testing"

func TestParseStat(t *testing.T) {
	line := "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 100"
	got, err := parseStat(line)
	if err != nil || got != 200 {
		t.Errorf("got %d, %v; want 200", got, err)
	}
	if _, err := parseStat("42 (short) S 1"); err == nil {
		t.Error("a short line was accepted")
	}
}

func TestParseWrk(t *testing.T) {
	requests, seconds, err := parseWrk("Running 3s test\n  12345 requests in 3.01s, 10MB read\n")
	if err != nil || requests != 12345 || seconds != 3.01 {
		t.Errorf("got %d in %v, %v", requests, seconds, err)
	}
	for _, bad := range []string{"", "0 requests in 3.0s", "10 requests in 3s\n  Non-2xx or 3xx responses: 10", "10 requests in 3s\nSocket errors: connect 1"} {
		if _, _, err := parseWrk(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
