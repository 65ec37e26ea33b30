package datagram

import (
	"errors"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// More destinations than the maps hold: a forgotten one gets another number, and an answer is never taken for another destination's.
func TestMoreDestinationsThanNumbers(t *testing.T) {
	b := newBench(t)
	b.apply(nil, rule("10.98.0.0/15", 53, steer.Redirect))
	got := b.python(`
old = new(V4); old.connect(("10.99.255.254", 53)); old.send(b"x"); first = old.recv(99)
s = new(V4); s.setblocking(False)
for n in range(70000):
    s.sendto(b"x", ("10.%d.%d.%d" % (98 + (n >> 16), n >> 8 & 255, n & 255), 53))
s = new(V4); s.settimeout(0.1)
for n in range(300): # until there is room in the queue of the capture socket again
    s.sendto(b"x", ("10.99.255.253", 53))
    try: s.recv(99); break
    except TimeoutError: pass
s = new(V4); wrong = 0
for n in list(range(0, 70000, 350)):
    ip = "10.%d.%d.%d" % (98 + (n >> 16), n >> 8 & 255, n & 255)
    s.sendto(b"x", (ip, 53)); text, peer = s.recvfrom(99)
    if text.decode() != ip + ":53 true" or peer != (ip, 53): wrong += 1; print(ip, text, peer)
old.settimeout(0.2); old.send(b"x")
try: again = old.recv(99)
except TimeoutError: again = None
except ConnectionRefusedError: again = None
print(first, wrong, again in (first, b"invalid AddrPort false", None))`, true)
	if want := "b'10.99.255.254:53 true' 0 True"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What there is no room for follows the fail policy.
func TestNoRoomFollowsThePolicy(t *testing.T) {
	const seventeen = `
s = new(V6)
for i in range(16): s.sendto(b"x", ("fd00:99::%x" % (i+1), 53)); s.recv(99)
print(err(s.connect, ("fd00:99::ff", 53)))`
	b := newBench(t)
	for _, tc := range []struct {
		closed bool
		want   string
	}{{false, "Network is unreachable"}, {true, "Connection refused"}} {
		b.apply(func(p *steer.Plan) { p.FailClosed = tc.closed }, rule("fd00:99::/64", 53, steer.Redirect))
		before, _ := b.Counters()
		got := b.python(seventeen, true)
		if tc.closed && got != tc.want || !tc.closed && got == "Connection refused" { // whether the host has a way there is not ours
			t.Errorf("closed %t: %s", tc.closed, got)
		}
		if after, _ := b.Counters(); after["no_room"] != before["no_room"]+1 {
			t.Errorf("closed %t: counted %d times", tc.closed, after["no_room"]-before["no_room"])
		}
	}
}

// Where the capture sockets are gone the fail policy holds.
func TestWithoutCaptureSockets(t *testing.T) {
	b := newBench(t)
	redirect := rule("127.9.9.0/24", 53, steer.Redirect)
	b.apply(nil, redirect)
	b.ClearCapture(b.opts.Netns)
	program := `s = new(V4); print(err(s.connect, ("127.9.9.9", 53)))`
	if got := b.python(program, true); got != "None" {
		t.Errorf("OPEN: %s", got)
	}
	b.apply(func(p *steer.Plan) { p.FailClosed = true }, redirect)
	if got := b.python(program, true); got != "Connection refused" {
		t.Errorf("CLOSED: %s", got)
	}
	if got := b.python(program, false); got != "None" {
		t.Errorf("outside of the cgroup: %s", got)
	}
}

// The state of a running, an idle and a closed interceptor.
func TestStatus(t *testing.T) {
	b := newBench(t)
	if s, err := b.Status(); err != nil || s.Loaded {
		t.Errorf("before the first rule: %+v, %v", s, err)
	}
	b.apply(nil, rule("10.99.0.0/16", 53, steer.Redirect))
	s, err := b.Status()
	if err != nil || !s.Loaded || s.Generation != 1 || len(s.Plan.Rules) != 1 || len(s.Capture) != 1 || len(s.Cgroups) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	c := s.Cgroups[0]
	if c.Dir != b.dir || c.ID == 0 || len(c.Hooks) != 8 {
		t.Errorf("%+v", c)
	}
	for _, h := range c.Hooks {
		own := 0
		for _, p := range h.Programs {
			if p.Weir && p.Name != "" {
				own++
			}
		}
		if own != 1 || h.LinkID == 0 {
			t.Errorf("%+v", h)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Status(); !errors.Is(err, errClosed) {
		t.Errorf("closed: %v", err)
	}
}
