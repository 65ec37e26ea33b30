package main

import "github.com/weir-proxy/weir/tools/bench/measure"

// figure begins a figure, whose rounds are added to it. goal is what its median should not exceed; 0 for one that stands for itself.
func (b *bench) figure(name, title, unit string, goal float64) *measure.Figure {
	f := &measure.Figure{Name: name, Title: title, Unit: unit, AtMost: goal}
	b.results = append(b.results, f)
	return f
}
