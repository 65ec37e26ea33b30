package main

import "testing"

func TestParseWrk(t *testing.T) {
	requests, err := parseWrk("Running 3s test\n  12345 requests in 3.01s, 10MB read\n")
	if err != nil || requests != 12345 {
		t.Errorf("got %d, %v", requests, err)
	}
	for _, bad := range []string{"", "0 requests in 3.0s", "10 requests in 3s\n  Non-2xx or 3xx responses: 10", "10 requests in 3s\nSocket errors: connect 1"} {
		if _, err := parseWrk(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestChoose(t *testing.T) {
	got, err := choose(scenarios(), "bulk,http1")
	if err != nil || len(got) != 2 || got[0].name != "bulk" {
		t.Errorf("got %d scenarios, %v", len(got), err)
	}
	if _, err := choose(scenarios(), "none"); err == nil {
		t.Error("an unknown scenario was accepted")
	}
}
