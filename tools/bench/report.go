package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// result is what a scenario found.
type result struct {
	Scenario string   `json:"scenario"`
	Title    string   `json:"title"`
	Unit     string   `json:"unit"`
	More     bool     `json:"more_is_better"`
	Goal     string   `json:"goal"`
	Rounds   int      `json:"rounds"`
	Seconds  float64  `json:"seconds_per_round"`
	Proxies  []figure `json:"proxies"`
}

// figure is what one proxy did.
type figure struct {
	Name   string    `json:"name"`
	Median float64   `json:"median"`
	Rounds []float64 `json:"rounds"`
	// Ratio is weir's median divided by this proxy's.
	Ratio float64 `json:"weir_ratio"`
}

func newResult(b *bench) result {
	s := b.scenario
	r := result{Scenario: s.name, Title: s.title, Unit: s.unit, More: s.more, Goal: s.goal, Rounds: b.rounds, Seconds: b.duration.Seconds()}
	weir := measure.Median(b.proxies[0].figures)
	for _, p := range b.proxies {
		m := measure.Median(p.figures)
		r.Proxies = append(r.Proxies, figure{Name: p.name, Median: m, Rounds: p.figures, Ratio: weir / m})
	}
	return r
}

func (r *result) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s (%d rounds of %.0f s, alternating)\n", r.Scenario, r.Title, r.Rounds, r.Seconds)
	fmt.Fprintf(w, "  %-8s %24s %24s %14s\n", "", r.Unit, "min .. max", "weir / this")
	for _, f := range r.Proxies {
		fmt.Fprintf(w, "  %-8s %24.2f %11.2f .. %9.2f %14.2f\n", f.Name, f.Median, slices.Min(f.Rounds), slices.Max(f.Rounds), f.Ratio)
	}
	better := "less"
	if r.More {
		better = "more"
	}
	fmt.Fprintf(w, "  %s is better; goal: %s\n\n", better, r.Goal)
}

func writeJSON(path string, results []result) error {
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
