package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
)

// Figure is what one thing measured came to.
type Figure struct {
	Name   string    `json:"name"`
	Title  string    `json:"title"`
	Unit   string    `json:"unit"`
	Median float64   `json:"median"`
	Rounds []float64 `json:"rounds"`
	// AtMost is what the median should not exceed, AtLeast what it should reach; 0 is no goal.
	AtMost  float64 `json:"at_most,omitempty"`
	AtLeast float64 `json:"at_least,omitempty"`
}

// Add adds what one round measured.
func (f *Figure) Add(v float64) {
	f.Rounds = append(f.Rounds, v)
	f.Median = Median(f.Rounds)
}

// goal is the figure's goal in words, with "!" when it is missed.
func (f *Figure) goal() string {
	missed := ""
	if (f.AtMost > 0 && f.Median > f.AtMost) || (f.AtLeast > 0 && f.Median < f.AtLeast) {
		missed = " !"
	}
	switch {
	case f.AtMost > 0:
		return fmt.Sprintf("<= %g%s", f.AtMost, missed)
	case f.AtLeast > 0:
		return fmt.Sprintf(">= %g%s", f.AtLeast, missed)
	default:
		return ""
	}
}

// Print writes a table of the figures that have rounds.
func Print(w io.Writer, figures []*Figure) {
	fmt.Fprintf(w, "%-26s %10s %-9s %23s  %-10s\n", "", "median", "", "min .. max", "goal")
	for _, f := range figures {
		if len(f.Rounds) == 0 {
			continue
		}
		fmt.Fprintf(w, "%-26s %10.3f %-9s %10.3f .. %9.3f  %-10s %s\n",
			f.Name, f.Median, f.Unit, slices.Min(f.Rounds), slices.Max(f.Rounds), f.goal(), f.Title)
	}
}

// Write stores the figures as JSON.
func Write(path string, figures []*Figure) error {
	text, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
