package explain

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Columns of the text form.
const (
	columns   = 100
	stepWidth = 16 // of number and name of a step
	nameWidth = 12 // of a detail's name
)

// Text lays the answer out for people, in at most 100 columns unless one word is longer.
func (a *Answer) Text() string {
	var b strings.Builder
	paragraph(&b, "", 0, a.Query)
	for i := range a.Steps {
		s := &a.Steps[i]
		b.WriteByte('\n')
		paragraph(&b, fmt.Sprintf("%d %s", i+1, s.Name), stepWidth, s.Result)
		for _, d := range s.Details {
			paragraph(&b, strings.Repeat(" ", stepWidth)+d.Name, stepWidth+nameWidth, d.Value)
		}
		s.endpoints(&b)
		for _, n := range s.Notes {
			paragraph(&b, strings.Repeat(" ", stepWidth)+"!", stepWidth+2, n)
		}
	}
	b.WriteByte('\n')
	paragraph(&b, "verdict", stepWidth, a.Verdict)
	return b.String()
}

// endpoints lays out the hosts, one a line.
func (s *Step) endpoints(b *strings.Builder) {
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		text := fmt.Sprintf("%s, %s, weight %d, %s", e.Address, e.Health, e.Weight, counted(e.ActiveConnections, "active connection"))
		if e.ActiveRequests > 0 {
			text += ", " + counted(e.ActiveRequests, "active request")
		}
		if e.Priority > 0 {
			text += fmt.Sprintf(", priority %d", e.Priority)
		}
		if e.Locality != "" {
			text += ", " + e.Locality
		}
		if e.Hostname != "" {
			text += " (" + e.Hostname + ")"
		}
		paragraph(b, strings.Repeat(" ", stepWidth)+"endpoint", stepWidth+nameWidth, text)
	}
}

// paragraph writes a head and, from the column indent on, words that are broken at the last column.
func paragraph(b *strings.Builder, head string, indent int, text string) {
	b.WriteString(head)
	at := utf8.RuneCountInString(head)
	if at >= indent && at > 0 {
		b.WriteByte(' ')
		at++
	}
	first := true
	for word := range strings.FieldsSeq(text) {
		width := utf8.RuneCountInString(word)
		switch {
		case first:
			b.WriteString(strings.Repeat(" ", max(0, indent-at)))
			at = max(at, indent)
		case at+1+width > columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += width
		first = false
	}
	b.WriteByte('\n')
}
