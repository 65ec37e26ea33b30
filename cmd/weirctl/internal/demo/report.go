package demo

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// report prints the story and remembers what was not as it should be.
type report struct {
	out   io.Writer
	color bool
	steps []step
}

// step is a part of the story.
type step struct {
	title         string
	checks, wrong int
}

// newReport tells a person at a terminal in colours, unless NO_COLOR is set.
func newReport(out io.Writer) *report {
	r := &report{out: out}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		r.color = err == nil
	}
	return r
}

// Colours of ECMA-48 (SGR).
const (
	bold  = "1"
	green = "32"
	red   = "31"
	faint = "2"
)

func (r *report) paint(how, text string) string {
	if !r.color {
		return text
	}
	return "\x1b[" + how + "m" + text + "\x1b[0m"
}

// step begins a part.
func (r *report) step(title string) {
	r.steps = append(r.steps, step{title: title})
	fmt.Fprintf(r.out, "\n%s\n", r.paint(bold, fmt.Sprintf("%d. %s", len(r.steps), title)))
}

// say prints lines of the story.
func (r *report) say(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		fmt.Fprintln(r.out, strings.TrimRight("   "+line, " \n"))
	}
}

// command prints what is run.
func (r *report) command(text string) { fmt.Fprintf(r.out, "   %s\n", r.paint(faint, "$ "+text)) }

// check prints whether something is as it should be, and counts it.
func (r *report) check(ok bool, format string, args ...any) {
	s := &r.steps[len(r.steps)-1]
	s.checks++
	verdict := r.paint(green, "OK  ")
	if !ok {
		s.wrong++
		verdict = r.paint(red, "FAIL")
	}
	fmt.Fprintf(r.out, "   %s %s\n", verdict, fmt.Sprintf(format, args...))
}

// failed tells whether any check did not hold.
func (r *report) failed() bool {
	for _, s := range r.steps {
		if s.wrong > 0 {
			return true
		}
	}
	return false
}

// verdicts prints a line for each step before the one that is being told.
func (r *report) verdicts() {
	for i, s := range r.steps[:len(r.steps)-1] {
		verdict := r.paint(green, "OK  ")
		if s.wrong > 0 {
			verdict = r.paint(red, "FAIL")
		}
		r.say("%s %d. %s (%d of %d checks)", verdict, i+1, s.title, s.checks-s.wrong, s.checks)
	}
}
