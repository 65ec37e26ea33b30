package log

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// DefaultPattern is Envoy's default line format.
const DefaultPattern = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"

// maxWidth bounds the padding of one field, as spdlog does.
const maxWidth = 64

// Format is a compiled line format. It is immutable.
type Format struct {
	fields []field
	tags   bool // some field shows the attributes as JSON
}

// event is what a line is made of.
type event struct {
	time      time.Time
	level     slog.Level
	component string
	pc        uintptr
	message   []byte // with the attributes
	bare      string // without
	tags      []byte // the attributes as `,"key":"value"`, only if the format asks for them
}

// field is a literal (flag 0) or one flag with its padding.
type field struct {
	literal string
	flag    byte
	align   byte // '<' pads after, '>' before, '=' on both sides
	width   int  // 0: no padding
	cut     bool // also shorten to width
}

// ParseFormat compiles a pattern in spdlog's syntax (--log-format): %Y %C %m %d %D %x %H %I %M %S %e
// %f %F %p %r %R %T %X %z %E %a %A %b %B %c time, %l %L level, %n component, %t thread, %P process,
// %@ %g %s %# %! source, %v message with attributes, %_ and %j the same with escaped newlines and
// escaped for JSON, %+ the message alone escaped for JSON and %* the attributes as JSON members, each
// after a comma (both Envoy's own), %% a percent sign; %^ and %$ (colour) give nothing. A width may
// stand before the flag: %8l, %-8l, %=8l and, cutting what is longer, %8!l. Any other flag is an
// error that gives its place.
func ParseFormat(pattern string) (*Format, error) {
	f := &Format{}
	for rest := pattern; rest != ""; {
		before, after, found := strings.Cut(rest, "%")
		if before != "" {
			f.fields = append(f.fields, field{literal: before})
		}
		if !found {
			break
		}
		fl, n, err := parseField(after)
		if err != nil {
			return nil, fmt.Errorf("parse log format %q at byte %d: %w", pattern, len(pattern)-len(after)-1, err)
		}
		rest = after[n:]
		f.addField(fl)
	}
	return f, nil
}

func (f *Format) addField(fl field) {
	switch fl.flag {
	case '%':
		f.fields = append(f.fields, field{literal: "%"})
	case '^', '$':
	default:
		f.fields = append(f.fields, fl)
		f.tags = f.tags || fl.flag == '*'
	}
}

// parseField reads what follows a percent sign and gives the number of bytes read.
func parseField(s string) (field, int, error) {
	fl, i := field{align: '>'}, 0
	if i < len(s) && (s[i] == '-' || s[i] == '=') {
		if fl.align = s[i]; fl.align == '-' {
			fl.align = '<'
		}
		i++
	}
	start := i
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		fl.width = min(fl.width*10+int(s[i]-'0'), maxWidth)
		i++
	}
	if i > start && i+1 < len(s) && s[i] == '!' {
		fl.cut = true
		i++
	}
	if i == len(s) {
		return fl, i, fmt.Errorf("%%%s ends before its flag", s)
	}
	fl.flag = s[i]
	if strings.IndexByte("YCmdDxHIMSefFprRTXzEaAbBclLntP@gs#!v_j+*%^$", fl.flag) < 0 {
		_, n := utf8.DecodeRuneInString(s[i:])
		return fl, i, fmt.Errorf("unknown flag %%%s", s[:i+n])
	}
	return fl, i + 1, nil
}

// defaultFormat is DefaultPattern compiled; that it compiles is a test's concern.
func defaultFormat() *Format {
	f, err := ParseFormat(DefaultPattern)
	if err != nil {
		panic(err)
	}
	return f
}

// append appends the line for e without a newline.
func (f *Format) append(b []byte, e *event) []byte {
	var src source
	for _, fl := range f.fields {
		if fl.flag == 0 {
			b = append(b, fl.literal...)
			continue
		}
		start := len(b)
		switch fl.flag {
		case '@', 'g', 's', '#', '!':
			b = src.resolve(e.pc).append(b, fl.flag)
		case 'v', '_', 'j', '+', '*', 'l', 'L', 'n', 't', 'P':
			b = appendPlain(b, fl.flag, e)
		default:
			b = appendTime(b, fl.flag, e.time)
		}
		if fl.width > 0 {
			b = pad(b, start, fl)
		}
	}
	return b
}

// pad brings b[start:] to the field's width.
func pad(b []byte, start int, fl field) []byte {
	missing := fl.width - (len(b) - start)
	if missing <= 0 {
		if fl.cut {
			b = b[:start+fl.width]
		}
		return b
	}
	before := 0
	switch fl.align {
	case '>':
		before = missing
	case '=':
		before = missing / 2
	}
	const spaces = "                                                                "
	b = append(b, spaces[:missing]...)
	copy(b[start+before:], b[start:len(b)-missing])
	copy(b[start:start+before], spaces)
	end := len(b) - (missing - before)
	copy(b[end:], spaces)
	return b
}

func appendPlain(b []byte, flag byte, e *event) []byte {
	switch flag {
	case 'v':
		return append(b, e.message...)
	case '_':
		return appendOneLine(b, e.message)
	case 'j':
		return appendJSON(b, string(e.message))
	case '+':
		return appendJSON(b, e.bare)
	case '*':
		return append(b, e.tags...)
	case 'l':
		return append(b, LevelName(e.level)...)
	case 'L':
		return append(b, LevelName(e.level)[0]-'a'+'A')
	case 'n':
		return append(b, e.component...)
	case 't':
		return strconv.AppendInt(b, int64(threadID()), 10)
	}
	return strconv.AppendInt(b, int64(processID()), 10)
}
