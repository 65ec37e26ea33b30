package intercept

import (
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStrangers is told of who connects from a namespace without capture sockets, and of nobody else.
func TestStrangers(t *testing.T) {
	b := newBench(t)
	b.capture(t)
	b.apply(t, b.plan(0, "127.0.0.0/8"))
	told := make(chan Stranger, 10)
	s, err := b.Strangers(func(s Stranger) { told <- s })
	if err != nil {
		t.Fatal(err)
	}
	server := direct(t, "127.0.0.1:0")
	if ans := client(t, b.dir, request{Addr: server.String()}); ans.Greeting != "captured" {
		t.Fatalf("client: %+v", ans)
	}
	var tasks []int
	seen := make(map[uint64]bool)
	for range 2 {
		ans := client(t, b.dir, request{Addr: server.String()}, func(attr *syscall.SysProcAttr) { attr.Cloneflags = unix.CLONE_NEWNET })
		select {
		case got := <-told:
			seen[got.Netns] = true
			tasks = append(tasks, got.Task)
			if got.Netns == b.opts.Netns {
				t.Errorf("told of weir's own namespace: %+v", got)
			}
			if ans.Errno != int(unix.ENETUNREACH) {
				t.Errorf("client: %+v", ans)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told of")
		}
	}
	if len(seen) != 2 || tasks[0] == tasks[1] || tasks[0] == 0 {
		t.Errorf("namespaces %v, tasks %v", seen, tasks)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if len(told) > 0 {
		t.Errorf("told of %+v too", <-told)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Strangers(func(Stranger) {}); err == nil {
		t.Error("a closed interceptor listens")
	}
}
