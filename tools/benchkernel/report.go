package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// result is one figure.
type result struct {
	Name   string    `json:"name"`
	Title  string    `json:"title"`
	Unit   string    `json:"unit"`
	Median float64   `json:"median"`
	Rounds []float64 `json:"rounds"`
	// AtMost is what the median should not exceed, AtLeast what it should reach; 0 is no goal.
	AtMost  float64 `json:"at_most,omitempty"`
	AtLeast float64 `json:"at_least,omitempty"`
}

// figure begins a figure that stands for itself; rounds are added to it.
func (b *bench) figure(name, title, unit string) *result {
	r := &result{Name: name, Title: title, Unit: unit}
	b.results = append(b.results, r)
	return r
}

// ratio begins a figure that compares.
func (b *bench) ratio(name, title string, atMost, atLeast float64) *result {
	r := b.figure(name, title, "x")
	r.AtMost, r.AtLeast = atMost, atLeast
	return r
}

// note says what could not be measured.
func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

func (r *result) add(v float64) {
	r.Rounds = append(r.Rounds, v)
	r.Median = measure.Median(r.Rounds)
}

// goal is the figure's goal in words, with "!" when it is missed.
func (r *result) goal() string {
	missed := ""
	if (r.AtMost > 0 && r.Median > r.AtMost) || (r.AtLeast > 0 && r.Median < r.AtLeast) {
		missed = " !"
	}
	switch {
	case r.AtMost > 0:
		return fmt.Sprintf("<= %g%s", r.AtMost, missed)
	case r.AtLeast > 0:
		return fmt.Sprintf(">= %g%s", r.AtLeast, missed)
	default:
		return ""
	}
}

func (b *bench) print(w io.Writer) {
	fmt.Fprintf(w, "%-26s %10s %-9s %23s  %-10s\n", "", "median", "", "min .. max", "goal")
	for _, r := range b.results {
		if len(r.Rounds) == 0 {
			continue
		}
		fmt.Fprintf(w, "%-26s %10.3f %-9s %10.3f .. %9.3f  %-10s %s\n",
			r.Name, r.Median, r.Unit, slices.Min(r.Rounds), slices.Max(r.Rounds), r.goal(), r.Title)
	}
	for _, n := range b.notes {
		fmt.Fprintf(w, "not available: %s\n", n)
	}
}

func (b *bench) write(path string) error {
	text, err := json.MarshalIndent(b.results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
