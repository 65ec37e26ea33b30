package log

import (
	"encoding/json"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func sampleEvent() *event {
	var pcs [1]uintptr
	runtime.Callers(1, pcs[:])
	return &event{
		time:      time.Date(2026, time.March, 7, 16, 5, 9, 12_345_678, time.FixedZone("X", -(2*3600+30*60))),
		level:     slog.LevelWarn,
		component: "upstream",
		pc:        pcs[0],
		message:   []byte("say \"hi\"\nto all n=1"),
		bare:      "say \"hi\"\nto all",
		tags:      []byte(`,"n":"1"`),
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"":                      "",
		"plain":                 "plain",
		"%Y-%m-%d %T.%e":        "2026-03-07 16:05:09.012",
		"%C %D %x":              "26 03/07/26 03/07/26",
		"%H %I %M %S %p":        "16 04 05 09 PM",
		"%f %F":                 "012345 012345678",
		"%r|%R|%X|%z":           "04:05:09 PM|16:05|16:05:09|-02:30",
		"%E":                    "1772908509",
		"%a %A %b %B %c":        "Sat Saturday Mar March Sat Mar  7 16:05:09 2026",
		"%l %L %n":              "warning W upstream",
		"%v":                    "say \"hi\"\nto all n=1",
		"%_":                    `say "hi"\nto all n=1`,
		"%j":                    `say \"hi\"\nto all n=1`,
		"%+":                    `say \"hi\"\nto all`,
		"%*":                    `,"n":"1"`,
		"100%%%^%n%$":           "100%upstream",
		"[%10l][%-10l][%=10l]":  "[   warning][warning   ][ warning  ]",
		"[%3l][%3!l][%-3!n]":    "[warning][war][ups]",
		"%g %s":                 "pkg/observe/log/format_test.go format_test.go",
		"%!":                    "sampleEvent",
		"%P":                    strconv.Itoa(os.Getpid()),
		"%0l%999l":              "warning" + strings.Repeat(" ", 57) + "warning",
		"%Y%Y":                  "20262026",
		"ä%nß":                  "äupstreamß",
		`{"m":"%j","l":"%l"%*}`: `{"m":"say \"hi\"\nto all n=1","l":"warning","n":"1"}`,
	} {
		f, err := ParseFormat(pattern)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		if got := string(f.append(nil, sampleEvent())); got != want {
			t.Errorf("%q:\ngot  %q\nwant %q", pattern, got, want)
		}
	}
}

func TestSourceLine(t *testing.T) {
	t.Parallel()
	e := sampleEvent()
	_, at, found := strings.Cut(string(mustFormat(t, "%@ %#").append(nil, e)), "pkg/observe/log/format_test.go:")
	line, again, _ := strings.Cut(at, " ")
	if n, err := strconv.Atoi(line); !found || err != nil || n < 10 || line != again {
		t.Errorf("got %q", at)
	}
	e.pc = 0
	if got := string(mustFormat(t, "%g:%#").append(nil, e)); got != ":0" {
		t.Errorf("without a source: %q", got)
	}
}

func TestFormatErrors(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"%Q":    `parse log format "%Q" at byte 0: unknown flag %Q`,
		"ab%":   `parse log format "ab%" at byte 2: % ends before its flag`,
		"%v %5": `parse log format "%v %5" at byte 3: %5 ends before its flag`,
		"%5ü":   `parse log format "%5ü" at byte 0: unknown flag %5ü`,
	} {
		if _, err := ParseFormat(pattern); err == nil || err.Error() != want {
			t.Errorf("%q:\ngot  %v\nwant %s", pattern, err, want)
		}
	}
}

func FuzzParseFormat(f *testing.F) {
	for _, s := range []string{DefaultPattern, "%8!l", "%-999v%=3n", "%", "%%", "%5", "%!", "%=", "%5!", "%j%_%+%*"} {
		f.Add(s, "message \xff\n")
	}
	f.Fuzz(func(t *testing.T, pattern, message string) {
		e := sampleEvent()
		e.message, e.bare = []byte(message), message
		if format, err := ParseFormat(pattern); err == nil {
			format.append(nil, e)
		}
		quoted := append(appendJSON([]byte{'"'}, message), '"')
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != strings.ToValidUTF8(message, "\uFFFD") && !strings.Contains(back, "\uFFFD") {
			t.Fatalf("%q becomes %s: %v", message, quoted, err)
		}
	})
}
