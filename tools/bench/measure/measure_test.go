package measure

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestOwnProcess(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for after := before; after == before; { // ends, for this loop is itself what is measured
		for i := range 1000 {
			sum += i
		}
		if after, err = CPU(os.Getpid()); err != nil || after < before {
			t.Fatalf("from %v to %v: %v", before, after, err)
		}
	}
	now, err := Resident(os.Getpid())
	if err != nil || now < 1000 {
		t.Errorf("resident %d KB: %v", now, err)
	}
	if peak, err := Peak(os.Getpid()); err != nil || peak < now/2 {
		t.Errorf("peak %d KB of %d: %v", peak, now, err)
	}
	if _, err := CPU(1 << 30); err == nil {
		t.Error("a process that cannot be has CPU time")
	}
}

func TestH2load(t *testing.T) {
	const line = "requests: 100 total, 100 started, 90 done, %s succeeded, %s failed, %s errored, 0 timeout\n"
	got, err := H2load(fmt.Sprintf(line, "90", "0", "0"))
	if err != nil || got != 90 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, bad := range []string{"", fmt.Sprintf(line, "0", "0", "0"), fmt.Sprintf(line, "90", "1", "0"), fmt.Sprintf(line, "90", "0", "1")} {
		if _, err := H2load(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestQuantile(t *testing.T) {
	var log strings.Builder
	for i := range 101 {
		fmt.Fprintf(&log, "1700000000000000\t200\t%d\n", 100-i)
	}
	got, err := Quantile(log.String(), 0.99)
	if err != nil || got != 99 {
		t.Errorf("got %v, %v; want 99", got, err)
	}
	for _, bad := range []string{"", "1 503 5\n", "1 200\n", "1 200 x\n"} {
		if _, err := Quantile(bad, 0.5); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}} {
		if got := Median(tt.in); got != tt.want {
			t.Errorf("median of %v is %v", tt.in, got)
		}
	}
}
