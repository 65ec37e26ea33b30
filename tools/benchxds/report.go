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
	// Goal is what the median should not exceed; 0 for figures that stand for themselves.
	Goal float64 `json:"goal,omitempty"`
}

// figure begins a figure, whose rounds are added to it.
func (b *bench) figure(name, title, unit string, goal float64) *result {
	r := &result{Name: name, Title: title, Unit: unit, Goal: goal}
	b.results = append(b.results, r)
	return r
}

func (r *result) add(v float64) {
	r.Rounds = append(r.Rounds, v)
	r.Median = measure.Median(r.Rounds)
}

func (b *bench) print(w io.Writer) {
	fmt.Fprintf(w, "%-20s %12s %-9s %25s  %-10s %s\n", "", "median", "", "min .. max", "goal", "")
	for _, r := range b.results {
		goal := ""
		switch {
		case r.Goal == 0 || len(r.Rounds) == 0:
		case r.Median <= r.Goal:
			goal = fmt.Sprintf("<= %g", r.Goal)
		default:
			goal = fmt.Sprintf("<= %g !", r.Goal)
		}
		if len(r.Rounds) == 0 {
			continue
		}
		fmt.Fprintf(w, "%-20s %12.3f %-9s %11.3f .. %10.3f  %-10s %s\n", r.Name, r.Median, r.Unit, slices.Min(r.Rounds), slices.Max(r.Rounds), goal, r.Title)
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
