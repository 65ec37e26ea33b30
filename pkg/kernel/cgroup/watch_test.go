package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// until waits for an event.
func until(t *testing.T, events <-chan Event, want Event) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case got := <-events:
			if got == want {
				return
			}
		case <-deadline:
			t.Fatalf("no event %+v", want)
		}
	}
}

// TestWatcher follows a real cgroup from its creation over a process in it to its removal.
func TestWatcher(t *testing.T) {
	h, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan Event, 100)
	w, err := NewWatcher(func(e Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	name := fmt.Sprintf("weir-watch-test-%d", os.Getpid())
	if err := w.Watch(map[string]struct{}{h.Root(): {}, h.Root() + "/not-there": {}}); err != nil {
		t.Fatal(err)
	}
	dir, _, err := h.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Remove(dir) })
	until(t, events, Event{Dir: h.Root(), Tree: true})
	if err := w.Add(dir); err != nil {
		t.Fatal(err)
	}
	sleeper := exec.CommandContext(t.Context(), "/proc/self/exe")
	sleeper.Env = append(os.Environ(), "WEIR_TEST_ROLE=sleeper")
	stdin, err := sleeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	if err := Move(dir, sleeper.Process.Pid); err != nil {
		t.Fatal(err)
	}
	until(t, events, Event{Dir: dir})
	for len(events) > 0 {
		<-events
	}
	stdin.Close()
	if err := sleeper.Wait(); err != nil {
		t.Error(err)
	}
	until(t, events, Event{Dir: dir})
	if err := h.Remove(dir); err != nil {
		t.Fatal(err)
	}
	until(t, events, Event{Dir: h.Root(), Tree: true})
}

// TestWatcherSet is about which directories are watched.
func TestWatcherSet(t *testing.T) {
	root := t.TempDir()
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	for _, dir := range []string{a, b} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	events := make(chan Event, 100)
	w, err := NewWatcher(func(e Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	mkdir := func(dir string) {
		t.Helper()
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dirs := range []map[string]struct{}{{a: {}}, {b: {}}, {a: {}, b: {}}} {
		if err := w.Watch(dirs); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("new", len(dirs), time.Now().UnixNano())
		mkdir(filepath.Join(a, name))
		mkdir(filepath.Join(b, name))
		for range dirs {
			e := <-events
			if _, ok := dirs[e.Dir]; !ok || !e.Tree {
				t.Errorf("event %+v while %v are watched", e, dirs)
			}
		}
	}
	if err := os.RemoveAll(a); err != nil {
		t.Fatal(err)
	}
	mkdir(a)
	if err := w.Watch(map[string]struct{}{a: {}}); err != nil { // another directory of the name
		t.Fatal(err)
	}
	for len(events) > 0 {
		<-events
	}
	mkdir(filepath.Join(a, "again"))
	until(t, events, Event{Dir: a, Tree: true})
}
