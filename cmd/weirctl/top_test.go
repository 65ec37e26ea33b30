package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weir-proxy/weir/test/golden"
)

const topPage = `{"total": 5, "connections": [
 {"id": 7, "verdict": "captured", "accelerated": true, "pid": 4711, "command": "curl", "container": "0123456789ab", "client": "10.0.0.2:40000",
  "destination": "10.99.0.1:80", "listener": "shop", "route": "cart", "cluster": "cart-of-the-online-shop", "endpoint": "10.1.0.1:8080",
  "bytes_sent": %[1]d, "bytes_received": 123456789, "rtt_us": 90, "age_ms": 61000},
 {"verdict": "offloaded", "pid": 42, "command": "psql\u001b[2J", "container": "session-3", "client": "10.0.0.2:40001",
  "destination": "10.99.0.2:5432", "listener": "db", "cluster": "db", "endpoint": "10.1.0.2:5432",
  "bytes_sent": 2000, "bytes_received": %[2]d, "rtt_us": 1500, "age_ms": -1},
 {"id": 8, "verdict": "inbound", "client": "10.0.0.9:40002", "destination": "10.0.0.2:8080", "listener": "in", "cluster": "app",
  "endpoint": "10.0.0.2:8080", "bytes_sent": 300, "bytes_received": 0, "age_ms": 90000000},
 {"id": 9, "verdict": "bound", "protocol": "udp", "client": "[fd00::9]:40003", "destination": "[fd00::1]:443", "listener": "edge",
  "bytes_sent": 0, "bytes_received": 0, "age_ms": 7200000}],
 "problems": ["network namespace shop: gone"]}`

// topServer answers as the daemon does; each answer has more bytes.
func topServer(t *testing.T) string {
	t.Helper()
	polls := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/weir/connections" || r.URL.Query().Get("limit") == "" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, topPage, 1000+polls*2048, 9000+polls*20480)
		polls++
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestTopOnce(t *testing.T) {
	admin := topServer(t)
	for _, args := range [][]string{{"--once"}, {"--interval=5"}, {"--sort", "bytes"}} { // no terminal
		var out, errs bytes.Buffer
		if status := runTop(t.Context(), append(args, "--admin", admin), stdio{out: &out, err: &errs}); status != exitOK {
			t.Fatalf("status %d: %s", status, errs.String())
		}
		if args[0] == "--once" {
			golden.Check(t, "testdata/top_once.txt", out.String())
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Errorf("control characters in %q", out.String())
		}
	}
}

func TestTopJSON(t *testing.T) {
	var out, errs bytes.Buffer
	if status := runTop(t.Context(), []string{"--json", "--admin", topServer(t)}, stdio{out: &out, err: &errs}); status != exitOK {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	var answer topAnswer
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil || answer.Total != 5 || len(answer.Connections) != 4 {
		t.Errorf("%v, %+v of\n%s", err, answer, out.String())
	}
}

func TestTopTable(t *testing.T) {
	a := topArguments{admin: topServer(t)}
	table := newTopTable("")
	for range 2 {
		if err := a.poll(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		table.at = time.Date(2026, 1, 2, 3, 4, 3, 0, time.UTC) // so that take is what measures below
	}
	again := table.topAnswer
	table.before = map[topKey]topBytes{}
	for _, c := range again.Connections[1:] {
		table.before[topKey{c.Namespace, c.Client, c.Destination, c.Verdict, c.Protocol}] = topBytes{c.BytesSent / 2, c.BytesReceived}
	}
	table.take(&again, table.at.Add(2*time.Second))
	for _, tc := range []struct {
		file, sorting string
		width, height int
		problem       error
	}{
		{"top_wide.txt", sortRate, 200, 50, nil},
		{"top_120.txt", sortBytes, 120, 50, nil},
		{"top_80.txt", sortRTT, 80, 24, nil},
		{"top_small.txt", sortAge, 40, 6, nil},
		{"top_old.txt", sortAge, 100, 24, errors.New("reach weir: refused\nIs it running?")},
	} {
		t.Run(tc.file, func(t *testing.T) {
			table.sorting, table.problem = tc.sorting, tc.problem
			got := table.render(tc.width, tc.height)
			golden.Check(t, "testdata/"+tc.file, got)
			lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
			if len(lines) > tc.height {
				t.Errorf("%d lines", len(lines))
			}
			for _, l := range lines {
				if n := utf8.RuneCountInString(l); n > tc.width {
					t.Errorf("%d characters in %q", n, l)
				}
			}
		})
	}
}

func TestTopRates(t *testing.T) {
	table, start := newTopTable(""), time.Now()
	take := func(after time.Duration, sent, received uint64) *topConnection {
		table.take(&topAnswer{Total: 1, Connections: []topConnection{{Client: "a", BytesSent: sent, BytesReceived: received}}}, start.Add(after))
		return &table.Connections[0]
	}
	for _, tc := range []struct {
		name                    string
		after                   time.Duration
		sent, received          uint64
		wantSending, wantToThem float64
	}{
		{"first", 0, 100, 100, 0, 0},
		{"moves", 2 * time.Second, 300, 100, 100, 0},
		{"rests", 3 * time.Second, 300, 100, 0, 0},
		{"another with the same address", 4 * time.Second, 50, 200, 50, 200},
	} {
		if c := take(tc.after, tc.sent, tc.received); c.sending != tc.wantSending || c.receiving != tc.wantToThem {
			t.Errorf("%s: %v and %v, want %v and %v", tc.name, c.sending, c.receiving, tc.wantSending, tc.wantToThem)
		}
	}
}

func TestTopArguments(t *testing.T) {
	for _, tc := range []struct {
		args    string
		want    topArguments
		wantErr string
	}{
		{args: "", want: topArguments{interval: 2 * time.Second}},
		{args: "--interval 0.5 --sort=age --once -c x", want: topArguments{interval: 500 * time.Millisecond, sort: "age", once: true, config: "x"}},
		{args: "--interval=3m --admin unix:/x", want: topArguments{interval: 3 * time.Minute, admin: "unix:/x"}},
		{args: "--interval 1ms", wantErr: "--interval 1ms: it is a time from 100ms"},
		{args: "--interval NaN", wantErr: "it is a time"},
		{args: "--sort name", wantErr: "one of rate, bytes, rtt, age"},
		{args: "--sort", wantErr: "--sort needs a value"},
		{args: "--json", want: topArguments{interval: 2 * time.Second, json: true}},
		{args: "--once=1", wantErr: "--once has no value"},
		{args: "--json=1", wantErr: "--json has no value"},
		{args: "--admn x", wantErr: "did you mean --admin?"},
		{args: "x", wantErr: `unexpected argument "x"`},
		{args: "--admin x -c y", wantErr: "give one"},
	} {
		got, err := parseTop(strings.Fields(tc.args))
		if tc.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("%s: error %v, want %q", tc.args, err, tc.wantErr)
			}
			continue
		}
		if err != nil || *got != tc.want {
			t.Errorf("%s: %+v, %v, want %+v", tc.args, got, err, tc.want)
		}
	}
	var out, errs bytes.Buffer
	if status := runTop(t.Context(), []string{"--help"}, stdio{out: &out, err: &errs}); status != exitOK || out.String() != topHelp {
		t.Errorf("help: status %d, %q", status, out.String())
	}
	if status := runTop(t.Context(), []string{"--admin", "unix:" + t.TempDir() + "/x"}, stdio{out: &out, err: &errs}); status != exitError ||
		!strings.Contains(errs.String(), "Is weir running?") {
		t.Errorf("without weir: status %d, %q", status, errs.String())
	}
}

func TestTopUnits(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0", 999: "999", 1000: "1.0K", 1024: "1.0K", 10188: "9.9K", 10240: "10K", 1023900: "1.0M", 1 << 30: "1.0G", 1 << 63: "8.0E",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%v bytes: %q, want %q", n, got, want)
		}
	}
	for us, want := range map[int64]string{0: "", 90: "90µs", 1500: "1.5ms", 250_000: "250ms"} {
		if got := rttText(us); got != want {
			t.Errorf("%d µs: %q, want %q", us, got, want)
		}
	}
	for ms, want := range map[int64]string{-1: "", 0: "0s", 59_999: "59s", 61_000: "1m01s", 3_600_000: "1h00m", 90_000_000: "1d01h"} {
		if got := ageText(ms); got != want {
			t.Errorf("%d ms: %q, want %q", ms, got, want)
		}
	}
}
