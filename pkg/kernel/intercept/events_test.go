package intercept

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-proxy/weir/pkg/kernel/events"
)

// wantEvent waits for the next event.
func wantEvent(t *testing.T, told <-chan *events.Event) *events.Event {
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
	told := make(chan *events.Event, 100)
	listener, err := b.opts.Ring.Listen(func(e *events.Event) { told <- e })
	if err != nil {
		t.Fatal(err)
	}
	server, six := direct(t, "127.0.0.1:0"), direct(t, "[::1]:0")
	connect := func(to string) { client(t, b.dir, request{Addr: to}) }
	connect(server.String()) // nothing is wanted yet
	if err := listener.Want(events.Everything()); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	connect(server.String())
	got := wantEvent(t, told)
	want := &events.Event{
		Dst: server, Verdict: events.Redirect, Code: uint8(ReasonCaptured), Reason: "captured", Protocol: events.TCP, Listener: "shop", Netns: b.opts.Netns,
		UID: uint32(os.Getuid()),
	}
	ignored := cmpopts.IgnoreFields(events.Event{}, "At", "Target", "Command", "Rule", "Cookie", "Cgroup", "PID")
	if diff := cmp.Diff(want, got, ignored, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if got.Cookie == 0 || got.Cgroup == 0 || got.PID == 0 || got.Rule == 0 || !got.Target.Addr().IsLoopback() || got.Target == server || got.At.Before(before.Add(-time.Second)) || got.At.After(time.Now().Add(time.Second)) {
		t.Errorf("event %+v", got)
	}
	connect(six.String())
	if got := wantEvent(t, told); got.Dst != six || got.Verdict != events.Pass || got.Reason != "no_rule" || got.Target.IsValid() {
		t.Errorf("event %+v", got)
	}
	only := func(of events.Want, dst string) {
		t.Helper()
		w := events.Wanted{Of: [events.Kinds]events.Want{of}, Sample: 1}
		if err := listener.Want(w); err != nil {
			t.Fatal(err)
		}
		connect(six.String())
		connect(server.String())
		connect(six.String())
		if got := wantEvent(t, told); got.Dst.String() != dst {
			t.Errorf("wanted %+v: %+v", w, got)
		}
	}
	only(events.Want{Verdicts: 1 << events.Redirect, Reasons: math.MaxUint64}, server.String())
	only(events.Want{Verdicts: math.MaxUint32, Reasons: 1 << ReasonCaptured}, server.String())
	few := events.Everything()
	few.Sample = 1e-9
	if err := listener.Want(few); err != nil {
		t.Fatal(err)
	}
	connect(server.String())
	if listener.Lost() != 0 {
		t.Errorf("%d events were lost", listener.Lost())
	}
	if err := listener.Close(); err != nil {
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
	listener, err := b.opts.Ring.Listen(func(*events.Event) { <-stop })
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Want(events.Everything()); err != nil {
		t.Fatal(err)
	}
	const room = 1 << 20 / 144 // an event and its header
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
	if lost := listener.Lost(); lost == 0 || lost > 200 {
		t.Errorf("%d of %d decisions were lost", lost, room+100)
	}
	close(stop)
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
}
