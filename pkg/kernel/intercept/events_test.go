package intercept

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// wantEvent waits for the next event.
func wantEvent(t *testing.T, told <-chan *Event) *Event {
	t.Helper()
	select {
	case e := <-told:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is told")
		return nil
	}
}

// TestEvents is told of the decisions that are wanted, with everything about them, and of no others.
func TestEvents(t *testing.T) {
	b := newBench(t)
	b.capture(t)
	b.apply(t, b.plan(0, "127.0.0.0/8"))
	told := make(chan *Event, 100)
	events, err := b.Events(func(e *Event) { told <- e })
	if err != nil {
		t.Fatal(err)
	}
	server, six := direct(t, "127.0.0.1:0"), direct(t, "[::1]:0")
	connect := func(to string) { client(t, b.dir, request{Addr: to}) }
	connect(server.String()) // nothing is wanted yet
	if err := events.Want(Everything()); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	connect(server.String())
	got := wantEvent(t, told)
	want := &Event{
		Dst: server, Action: ActionRedirect, Reason: ReasonCaptured, TCP: true, Listener: "shop", Netns: b.opts.Netns,
		UID: uint32(os.Getuid()),
	}
	ignored := cmpopts.IgnoreFields(Event{}, "At", "Target", "Command", "Rule", "Cookie", "Cgroup", "PID")
	if diff := cmp.Diff(want, got, ignored, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if got.Cookie == 0 || got.Cgroup == 0 || got.PID == 0 || got.Rule == 0 || !got.Target.Addr().IsLoopback() || got.Target == server || got.At.Before(before.Add(-time.Second)) || got.At.After(time.Now().Add(time.Second)) {
		t.Errorf("event %+v", got)
	}
	connect(six.String())
	if got := wantEvent(t, told); got.Dst != six || got.Action != ActionPass || got.Reason != ReasonNoRule || got.Target.IsValid() {
		t.Errorf("event %+v", got)
	}
	only := func(w Wanted, dst string) {
		t.Helper()
		if err := events.Want(w); err != nil {
			t.Fatal(err)
		}
		connect(six.String())
		connect(server.String())
		connect(six.String())
		if got := wantEvent(t, told); got.Dst.String() != dst {
			t.Errorf("wanted %+v: %+v", w, got)
		}
	}
	only(Wanted{Actions: 1 << ActionRedirect, Reasons: Everything().Reasons, Sample: 1}, server.String())
	only(Wanted{Actions: Everything().Actions, Reasons: 1 << ReasonCaptured, Sample: 1}, server.String())
	if err := events.Want(Wanted{Actions: Everything().Actions, Reasons: Everything().Reasons, Sample: 1e-9}); err != nil {
		t.Fatal(err)
	}
	connect(server.String())
	if events.Lost() != 0 {
		t.Errorf("%d events were lost", events.Lost())
	}
	if err := events.Close(); err != nil {
		t.Error(err)
	}
	connect(server.String())
	if len(told) > 0 {
		t.Errorf("told of %+v too", <-told)
	}
}

// TestEventsAreLost counts the decisions that nobody reads, which stop nothing.
func TestEventsAreLost(t *testing.T) {
	b := newBench(t)
	b.apply(t, b.plan(0, "192.0.2.0/24"))
	stop := make(chan struct{})
	events, err := b.Events(func(*Event) { <-stop })
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Want(Everything()); err != nil {
		t.Fatal(err)
	}
	const room = 1 << 20 / 120 // an event and its header
	script := fmt.Sprintf("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor n in range(%d): s.connect(('127.0.0.1', 9))\n", room+100)
	group, err := os.Open(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	many := exec.CommandContext(t.Context(), "python3", "-I", "-c", script)
	many.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if out, err := many.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if lost := events.Lost(); lost == 0 || lost > 200 {
		t.Errorf("%d of %d decisions were lost", lost, room+100)
	}
	close(stop)
	if err := events.Close(); err != nil {
		t.Error(err)
	}
}
