package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/agent/decisions"
)

// openTerminal makes a terminal of so many columns. What is written to it can be read from the keeper.
func openTerminal(t *testing.T, columns uint16) (keeper, terminal *os.File) {
	t.Helper()
	keeper, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keeper.Close() })
	if err := unix.IoctlSetPointerInt(int(keeper.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keeper.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return keeper, terminal
}

// TestEventsOnTerminal has each event in one line of a terminal, and everything of it in what is no terminal.
func TestEventsOnTerminal(t *testing.T) {
	e := decisions.Event{
		Time: time.Now(), Direction: "inbound", Protocol: "tcp", Verdict: "redirect", Reason: "captured", PID: 4711, Command: "nginx", Container: "0123456789ab",
		Namespace: "net:[4026532345]", Source: "[2001:db8::1]:53211", Destination: "[2001:db8::2]:443", Listener: "virtualInbound",
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("format") == "text" {
			fmt.Fprintln(w, e.Text())
			return
		}
		_ = json.NewEncoder(w).Encode(e) // the client has gone
		fmt.Fprintln(w, `{"lost":7}`)
	})}}
	s.Start()
	t.Cleanup(s.Close)
	args := []string{"--admin", l.Addr().String(), "-n", "1"}
	for _, columns := range []uint16{0, 40, 80, 120, 250} {
		keeper, terminal := openTerminal(t, columns)
		var errs bytes.Buffer
		if status := runEvents(t.Context(), args, stdio{out: terminal, err: &errs}); status != exitOK {
			t.Fatalf("status %d, errors %q", status, errs.String())
		}
		_ = terminal.Close() // so that reading ends
		got, _ := io.ReadAll(keeper)
		if columns == 0 { // it does not know
			columns = 80
		}
		first, rest, _ := strings.Cut(string(got), "\r\n")
		if want := e.TextWithin(int(columns)); first != want || utf8.RuneCountInString(first) > int(columns) || rest != "... 7 more were not read in time\r\n" {
			t.Errorf("in %d columns %q and %q, want %q", columns, first, rest, want)
		}
	}
	var out, errs bytes.Buffer
	if status := runEvents(t.Context(), args, stdio{out: &out, err: &errs}); status != exitOK || out.String() != e.Text()+"\n" {
		t.Errorf("status %d, output %q, errors %q", status, out.String(), errs.String())
	}
}
