package decisions

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Ways to write when it was.
const (
	clockFull  = "15:04:05.000000"
	clockShort = "15:04:05.000"
	clockBrief = "15:04:05"
)

// clockWithin is the one for so many columns. It is the same for all events, so that what follows it is in columns.
func clockWithin(columns int) string {
	switch {
	case columns < 100:
		return clockBrief
	case columns < 160:
		return clockShort
	}
	return clockFull
}

// cutMark stands for what was cut off.
const cutMark = "\u2026"

// Text is the event in one line: when, verdict, protocol and direction in columns, who and where to, why. What applications choose
// themselves, as their names, is printed without control characters.
func (e *Event) Text() string { return e.text(clockFull) }

func (e *Event) text(clock string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-8s %-3s %-3s ", e.Time.Format(clock), e.Verdict, e.Protocol, map[string]string{directionOut: "out", directionIn: "in"}[e.Direction])
	if e.Direction == directionIn {
		b.WriteString(e.Source + " > ")
	}
	who := cmp.Or(printable(e.Command), "-")
	if e.PID != 0 {
		who += "/" + strconv.Itoa(int(e.PID))
	}
	b.WriteString(who)
	if e.Container != "" {
		b.WriteString(" " + printable(e.Container))
	}
	if e.Namespace != "" {
		b.WriteString(" (" + printable(e.Namespace) + ")")
	}
	b.WriteString(map[string]string{directionOut: " > ", directionIn: " "}[e.Direction] + e.Destination + ": " + e.Reason)
	for _, part := range []struct{ name, value string }{{"listener", e.Listener}, {"service", e.Service}, {"endpoint", e.Endpoint}} {
		if part.value != "" {
			b.WriteString(", " + part.name + " " + printable(part.value))
		}
	}
	if e.Again {
		b.WriteString(", again")
	}
	return b.String()
}

// printable replaces what would move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// TextWithin is Text in at most so many columns. What tells least is shortened and left out first; the verdict, the process, the
// destination and the reason stay as long as there is room.
func (e *Event) TextWithin(columns int) string {
	short, clock := *e, clockWithin(columns)
	for _, shorten := range []func(){
		func() {},
		func() { // it is there for the listener, and mostly called like it
			if short.Listener != "" {
				short.Service = ""
			}
		},
		func() {
			if short.Container != "" {
				short.Namespace = ""
			}
		},
		func() { short.Container, short.Namespace = beginning(e.Container, 16), beginning(short.Namespace, 20) },
		func() { short.Listener, short.Service = middle(e.Listener, 20), middle(short.Service, 20) },
		func() { short.Container, short.Namespace = beginning(e.Container, 12), beginning(short.Namespace, 12) },
		func() {
			if isID(e.Container) {
				short.Container = e.Container[:8]
			}
		},
		func() { short.Listener, short.Service = "", "" },
		func() { short.Source = middle(e.Source, 21) },
		func() { short.Destination, short.Endpoint = middle(e.Destination, 21), middle(e.Endpoint, 21) },
		func() { short.Container, short.Namespace = "", "" },
		func() { // where something comes in the address is this host's
			if port := strings.LastIndexByte(e.Destination, ':'); short.Direction == directionIn && port >= 0 {
				short.Destination = e.Destination[port:]
			}
		},
		func() { short.Endpoint = "" },
		func() { short.PID = 0 },
	} {
		shorten()
		if text := short.text(clock); utf8.RuneCountInString(text) <= columns {
			return text
		}
	}
	return beginning(short.text(clock), columns)
}

// isID tells whether a container is called by the first digits of its id, fewer of which do as well.
func isID(name string) bool { return len(name) == 12 && strings.Trim(name, "0123456789abcdef") == "" }

// beginning cuts what is longer than so many characters.
func beginning(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:max(most-1, 0)]) + cutMark
	}
	return s
}

// middle leaves the middle of what is longer than so many characters out: names differ at their ends.
func middle(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	end := most / 2
	return string(runes[:most-1-end]) + cutMark + string(runes[len(runes)-end:])
}
