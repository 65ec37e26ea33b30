package main

import (
	"fmt"
	"strings"
	"testing"
)

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

func TestParseH2load(t *testing.T) {
	const line = "requests: 100 total, 100 started, 90 done, %s succeeded, %s failed, %s errored, 0 timeout\n"
	got, err := parseH2load(fmt.Sprintf(line, "90", "0", "0"))
	if err != nil || got != 90 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, bad := range []string{"", fmt.Sprintf(line, "0", "0", "0"), fmt.Sprintf(line, "90", "1", "0"), fmt.Sprintf(line, "90", "0", "1")} {
		if _, err := parseH2load(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestQuantile(t *testing.T) {
	var log strings.Builder
	for i := range 101 {
		fmt.Fprintf(&log, "1700000000000000\t200\t%d\n", 100-i)
	}
	got, err := quantile(log.String(), 0.99)
	if err != nil || got != 99 {
		t.Errorf("got %v, %v; want 99", got, err)
	}
	for _, bad := range []string{"", "1 503 5\n", "1 200\n", "1 200 x\n"} {
		if _, err := quantile(bad, 0.5); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("got %v", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("got %v", got)
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
