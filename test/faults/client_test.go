package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/test/harness"
)

// clientProgram connects again and again, a thread for each argument, until its standard input ends. "ADDRESS=TEXT" makes one
// connection after the other, to read TEXT; "ADDRESS+TEXT" keeps one connection for ten seconds and has it echo. It prints how often it saw TEXT, and
// everything else with the time that it took, on the clock CLOCK_MONOTONIC.
const clientProgram = `
import errno, json, re, socket, sys, threading, time
lock, stop, good, rest = threading.Lock(), threading.Event(), {}, []
def dial(addr):
    host, port = addr.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)
def once(addr):
    phase = "connect"
    try:
        with dial(addr) as s:
            phase = "broken"
            text = s.recv(64)
            s.sendall(b"!")
            s.shutdown(socket.SHUT_WR)
            while part := s.recv(4096):
                text += part
            return text.decode() if text.endswith(b"!") else "broken after " + repr(text.decode())
    except OSError as e:
        return phase + " " + (errno.errorcode.get(e.errno) or type(e).__name__)
def held(addr, want):
    until = time.monotonic() + 10 # what the backend serves has an end, too
    try:
        with dial(addr) as s:
            text = s.recv(64)
            while not stop.is_set() and time.monotonic() < until:
                s.sendall(b"!")
                if s.recv(1) != b"!":
                    return "broken while it was held"
                note(addr + "+" + want, want, want, 0)
                time.sleep(0.02)
    except OSError as e:
        return "broken " + (errno.errorcode.get(e.errno) or type(e).__name__)
def note(key, want, what, begin):
    with lock:
        if what == want: good[key] = good.get(key, 0) + 1
        else: rest.append([key, what, begin, time.clock_gettime_ns(time.CLOCK_MONOTONIC)])
def work(arg):
    addr, kind, want = re.fullmatch("([^=+]*)([=+])(.*)", arg).groups()
    while not stop.is_set():
        begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        what = once(addr) if kind == "=" else held(addr, want)
        if what: note(arg, want, what, begin)
        time.sleep(0.003 if what == want else 0.01)
threads = [threading.Thread(target=work, args=(a,)) for a in sys.argv[1:]]
for t in threads: t.start()
sys.stdin.read()
stop.set()
for t in threads: t.join()
print(json.dumps({"good": good, "rest": rest}))
`

// event is a connection that did not do what weir would have it do. Times are nanoseconds of CLOCK_MONOTONIC.
type event struct {
	client, what string
	begin, end   int64
}

// UnmarshalJSON reads the four values in a row.
func (e *event) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&e.client, &e.what, &e.begin, &e.end})
}

// seen is what a client saw.
type seen struct {
	Good map[string]int
	Rest []event
}

// load is an application at work.
type load struct {
	t    *testing.T
	app  *harness.Process
	stop io.Closer
}

// startLoad starts the client program in an application.
func startLoad(t *testing.T, app harness.App, args ...string) *load {
	t.Helper()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "stop")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, filepath.Join(dir, "client.py"), clientProgram)
	script := fmt.Sprintf("exec python3 %s/client.py \"$@\" < %s", dir, fifo)
	p := app.Start(append([]string{"sh", "-c", script, "sh"}, args...)...)
	end, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &load{t, p, end}
}

// end stops the client.
func (l *load) end() seen {
	l.t.Helper()
	l.stop.Close()
	result := l.app.Wait()
	var s seen
	if err := json.Unmarshal([]byte(result.Out), &s); err != nil || result.Err != "" {
		l.t.Fatalf("client: %v\n%s%s", err, result.Out, result.Err)
	}
	return s
}

// tally counts what was seen beside what should be, by client and kind.
func (s seen) tally() string {
	counts := make(map[string]int)
	for _, e := range s.Rest {
		counts[e.client+" "+e.what]++
	}
	return strings.TrimPrefix(fmt.Sprint(counts), "map")
}

// monotonic is the time of CLOCK_MONOTONIC in nanoseconds.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano()
}
