package log

import (
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// modulePath is cut from source paths so that they read like Envoy's, relative to the source tree.
const modulePath = "github.com/weir-proxy/weir/"

func threadID() int  { return syscall.Gettid() }
func processID() int { return os.Getpid() }

// source is where a line was logged.
type source struct {
	resolved bool
	file     string // "pkg/observe/log/log.go": from the import path, so build paths do not show
	function string
	line     int
}

func (s *source) resolve(pc uintptr) *source {
	if s.resolved {
		return s
	}
	s.resolved = true
	if pc == 0 {
		return s
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	s.line = frame.Line
	s.function = frame.Function
	dir := ""
	slash := strings.LastIndexByte(frame.Function, '/') + 1
	if dot := strings.IndexByte(frame.Function[slash:], '.'); dot >= 0 {
		dir = strings.TrimPrefix(frame.Function[:slash+dot], modulePath)
		s.function = frame.Function[slash+dot+1:]
	}
	s.file = path.Join(dir, path.Base(frame.File))
	return s
}

func (s *source) append(b []byte, flag byte) []byte {
	switch flag {
	case 'g':
		return append(b, s.file...)
	case 's':
		return append(b, path.Base(s.file)...)
	case '#':
		return strconv.AppendInt(b, int64(s.line), 10)
	case '!':
		return append(b, s.function...)
	}
	b = append(b, s.file...)
	b = append(b, ':')
	return strconv.AppendInt(b, int64(s.line), 10)
}

// appendTime appends the part of t that the flag names, in t's location.
func appendTime(b []byte, flag byte, t time.Time) []byte {
	switch flag {
	case 'e':
		return appendDigits(b, t.Nanosecond()/1e6, 3)
	case 'f':
		return appendDigits(b, t.Nanosecond()/1e3, 6)
	case 'F':
		return appendDigits(b, t.Nanosecond(), 9)
	case 'E':
		return strconv.AppendInt(b, t.Unix(), 10)
	}
	return t.AppendFormat(b, layout(flag))
}

// layout is the time layout of a flag; ParseFormat lets no other flags through.
func layout(flag byte) string {
	switch flag {
	case 'Y':
		return "2006"
	case 'C':
		return "06"
	case 'm':
		return "01"
	case 'd':
		return "02"
	case 'D', 'x':
		return "01/02/06"
	case 'H':
		return "15"
	case 'I':
		return "03"
	case 'M':
		return "04"
	case 'S':
		return "05"
	case 'p':
		return "PM"
	case 'r':
		return "03:04:05 PM"
	case 'R':
		return "15:04"
	case 'T', 'X':
		return "15:04:05"
	case 'z':
		return "-07:00"
	case 'a':
		return "Mon"
	case 'A':
		return "Monday"
	case 'b':
		return "Jan"
	case 'B':
		return "January"
	}
	return "Mon Jan _2 15:04:05 2006" // %c
}

func appendDigits(b []byte, n, width int) []byte {
	start := len(b)
	for range width {
		b = append(b, '0')
	}
	for i := start + width - 1; i >= start; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

// appendOneLine appends msg with its newlines written as \n.
func appendOneLine(b, msg []byte) []byte {
	for _, c := range msg {
		if c == '\n' {
			b = append(b, '\\', 'n')
			continue
		}
		b = append(b, c)
	}
	return b
}

// appendJSON appends msg as the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendJSON(b []byte, msg string) []byte {
	const hex = "0123456789abcdef"
	for _, r := range msg {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r == '\b':
			b = append(b, '\\', 'b')
		case r == '\f':
			b = append(b, '\\', 'f')
		case r < ' ' || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
