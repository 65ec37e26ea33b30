package format

import (
	"fmt"
	"strconv"
	"time"
)

// timeFormat is a compiled strftime layout with Envoy's additions (%f, %3f) and those of absl (%E3S, %E*S, %E3f, %E*f).
type timeFormat []timePart

type timePart struct {
	literal string
	verb    byte
	digits  int // of fractions; -1: as many as are not zero
}

// compileTime parses a layout; an unknown conversion is an error.
func compileTime(layout string) (timeFormat, error) {
	var f timeFormat
	for i := 0; i < len(layout); {
		if layout[i] != '%' {
			end := i
			for end < len(layout) && layout[end] != '%' {
				end++
			}
			f = append(f, timePart{literal: layout[i:end]})
			i = end
			continue
		}
		p, n, err := parseTimeVerb(layout[i+1:])
		if err != nil {
			return nil, fmt.Errorf("time format %q: %w", layout, err)
		}
		f = append(f, p)
		i += 1 + n
	}
	return f, nil
}

// parseTimeVerb reads what follows a percent sign and tells how long it is.
func parseTimeVerb(s string) (timePart, int, error) {
	if s == "" {
		return timePart{}, 0, fmt.Errorf("'%%' at the end")
	}
	switch c := s[0]; {
	case '1' <= c && c <= '9':
		if len(s) > 1 && s[1] == 'f' {
			return timePart{verb: 'f', digits: int(c - '0')}, 2, nil
		}
	case c == 'E':
		return parseExtendedVerb(s)
	case c == 'f':
		return timePart{verb: 'f', digits: 9}, 1, nil
	case isTimeVerb(c):
		return timePart{verb: c}, 1, nil
	}
	return timePart{}, 0, fmt.Errorf("conversion %%%s is not known", s[:1])
}

// parseExtendedVerb reads absl's %E conversions; s begins with the E.
func parseExtendedVerb(s string) (timePart, int, error) {
	if len(s) >= 2 && s[1] == 'z' {
		return timePart{verb: ':'}, 2, nil
	}
	if len(s) >= 3 && (s[2] == 'S' || s[2] == 'f') {
		verb := byte('f')
		if s[2] == 'S' {
			verb = '.' // seconds with fraction
		}
		switch {
		case s[1] == '*':
			return timePart{verb: verb, digits: -1}, 3, nil
		case '0' <= s[1] && s[1] <= '9':
			return timePart{verb: verb, digits: int(s[1] - '0')}, 3, nil
		}
	}
	return timePart{}, 0, fmt.Errorf("conversion %%E is incomplete")
}

func isTimeVerb(c byte) bool {
	for _, v := range []byte("YyCmdeHIMSpjaAbBhuwsZzDFTRrcxXnt%") {
		if v == c {
			return true
		}
	}
	return false
}

func (f timeFormat) append(dst []byte, t time.Time) []byte {
	for i := range f {
		if f[i].verb == 0 {
			dst = append(dst, f[i].literal...)
		} else {
			dst = f[i].append(dst, t)
		}
	}
	return dst
}

func (p *timePart) append(dst []byte, t time.Time) []byte {
	switch p.verb {
	case 'Y':
		return pad(dst, t.Year(), 4)
	case 'y':
		return pad(dst, t.Year()%100, 2)
	case 'C':
		return pad(dst, t.Year()/100, 2)
	case 'm':
		return pad(dst, int(t.Month()), 2)
	case 'd':
		return pad(dst, t.Day(), 2)
	case 'e':
		return t.AppendFormat(dst, "_2")
	case 'H':
		return pad(dst, t.Hour(), 2)
	case 'I':
		return pad(dst, (t.Hour()+11)%12+1, 2)
	case 'M':
		return pad(dst, t.Minute(), 2)
	case 'S':
		return pad(dst, t.Second(), 2)
	case '.':
		return appendSeconds(dst, t, p.digits)
	case 'f':
		return appendFraction(dst, t.Nanosecond(), p.digits)
	case 'j':
		return pad(dst, t.YearDay(), 3)
	case 'u':
		return strconv.AppendInt(dst, int64(t.Weekday()+6)%7+1, 10)
	case 'w':
		return strconv.AppendInt(dst, int64(t.Weekday()), 10)
	case 's':
		return strconv.AppendInt(dst, t.Unix(), 10)
	case 'n':
		return append(dst, '\n')
	case 't':
		return append(dst, '\t')
	case '%':
		return append(dst, '%')
	}
	return t.AppendFormat(dst, goLayout(p.verb))
}

// goLayout is the layout of the conversions that package time knows by itself.
func goLayout(verb byte) string {
	switch verb {
	case 'p':
		return "PM"
	case 'a':
		return "Mon"
	case 'A':
		return "Monday"
	case 'b', 'h':
		return "Jan"
	case 'B':
		return "January"
	case 'Z':
		return "MST"
	case 'z':
		return "-0700"
	case ':':
		return "-07:00"
	case 'D', 'x':
		return "01/02/06"
	case 'F':
		return "2006-01-02"
	case 'T', 'X':
		return "15:04:05"
	case 'R':
		return "15:04"
	case 'r':
		return "03:04:05 PM"
	}
	return "Mon Jan _2 15:04:05 2006" // %c
}

func appendSeconds(dst []byte, t time.Time, digits int) []byte {
	dst = pad(dst, t.Second(), 2)
	if digits == 0 || digits < 0 && t.Nanosecond() == 0 {
		return dst
	}
	return appendFraction(append(dst, '.'), t.Nanosecond(), digits)
}

// appendFraction writes the first digits of a second's fraction; with -1, all but trailing zeros (at least one).
func appendFraction(dst []byte, ns, digits int) []byte {
	if digits == 0 {
		return dst
	}
	start := len(dst)
	dst = pad(dst, ns, 9)
	if digits > 0 {
		return dst[:start+digits]
	}
	for len(dst) > start+1 && dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

func pad(dst []byte, n, width int) []byte {
	for limit := 10; width > 1; width-- {
		w := 1
		for range width - 1 {
			w *= limit
		}
		if n < w {
			dst = append(dst, '0')
			continue
		}
		break
	}
	return strconv.AppendInt(dst, int64(n), 10)
}
