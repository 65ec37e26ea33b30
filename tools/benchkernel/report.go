package main

import (
	"fmt"
	"io"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// figure begins a figure that stands for itself; rounds are added to it.
func (b *bench) figure(name, title, unit string) *measure.Figure {
	f := &measure.Figure{Name: name, Title: title, Unit: unit}
	b.results = append(b.results, f)
	return f
}

// ratio begins a figure that compares.
func (b *bench) ratio(name, title string, atMost, atLeast float64) *measure.Figure {
	f := b.figure(name, title, "x")
	f.AtMost, f.AtLeast = atMost, atLeast
	return f
}

// note says what could not be measured.
func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

func (b *bench) print(w io.Writer) {
	measure.Print(w, b.results)
	for _, n := range b.notes {
		fmt.Fprintf(w, "not available: %s\n", n)
	}
}
