package filewatch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience bounds each wait of a test.
const patience = 10 * time.Second

func newWatcher(t *testing.T) *Watcher {
	t.Helper()
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// follow returns a channel with the content of path after each change.
func follow(t *testing.T, w *Watcher, path, directory string) (changes chan string, cancel func()) {
	t.Helper()
	changes = make(chan string, 100)
	cancel, err := w.Add(path, directory, func() {
		content, err := os.ReadFile(path)
		if err != nil {
			content = []byte(err.Error())
		}
		changes <- string(content)
	})
	must(t, err)
	return changes, cancel
}

// expect waits until the content is as wanted; a write shows as two changes when its truncation was seen.
func expect(t *testing.T, changes <-chan string, want string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case got := <-changes:
			if got == want {
				return
			}
		case <-deadline:
			t.Fatalf("no change to %q was seen", want)
		}
	}
}

func TestWaysToChangeAFile(t *testing.T) {
	tests := map[string]func(t *testing.T, path string){
		"write in place": func(t *testing.T, path string) { write(t, path, "new") },
		"rename into place": func(t *testing.T, path string) {
			write(t, path+".tmp", "new")
			must(t, os.Rename(path+".tmp", path))
		},
		"remove and return": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			write(t, path, "new")
		},
		"replace by a link": func(t *testing.T, path string) {
			write(t, path+".target", "new")
			must(t, os.Remove(path))
			must(t, os.Symlink(path+".target", path))
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			write(t, path, "old")
			changes, _ := follow(t, newWatcher(t), path, "")
			change(t, path)
			expect(t, changes, "new")
		})
	}
}

func TestFileThatComesLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	changes, _ := follow(t, newWatcher(t), path, "")
	write(t, path, "here")
	expect(t, changes, "here")
}

func TestUnchangedContentIsNoChange(t *testing.T) {
	dir := t.TempDir()
	same, other := filepath.Join(dir, "same"), filepath.Join(dir, "other")
	write(t, same, "x")
	w := newWatcher(t)
	unwanted, _ := follow(t, w, same, "")
	changes, _ := follow(t, w, other, "")
	write(t, same+".tmp", "x")
	must(t, os.Rename(same+".tmp", same))
	must(t, os.Chmod(same, 0o640))
	write(t, other, "done") // seen after all of the above
	expect(t, changes, "done")
	if len(unwanted) > 0 {
		t.Errorf("a change to %q was told", <-unwanted)
	}
}

func TestKubernetesSwap(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"1", "2"} {
		must(t, os.Mkdir(filepath.Join(dir, "..v"+v), 0o700))
		write(t, filepath.Join(dir, "..v"+v, "f"), "version "+v)
	}
	must(t, os.Symlink("..v1", filepath.Join(dir, "..data")))
	path := filepath.Join(dir, "f")
	must(t, os.Symlink("..data/f", path))
	changes, _ := follow(t, newWatcher(t), path, "")
	must(t, os.Symlink("..v2", filepath.Join(dir, "..data_tmp")))
	must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	expect(t, changes, "version 2")
}

func TestWatchedDirectory(t *testing.T) {
	root := t.TempDir()
	for _, v := range []string{"1", "2"} {
		must(t, os.Mkdir(filepath.Join(root, v), 0o700))
		write(t, filepath.Join(root, v, "f"), "version "+v)
	}
	live := filepath.Join(root, "live")
	must(t, os.Symlink("1", live))
	changes, _ := follow(t, newWatcher(t), filepath.Join(live, "f"), root)
	must(t, os.Symlink("2", live+".tmp"))
	must(t, os.Rename(live+".tmp", live))
	expect(t, changes, "version 2")
}

func TestTwoWatchesOfOneFileAreApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "0")
	w := newWatcher(t)
	first, cancel := follow(t, w, path, "")
	second, _ := follow(t, w, path, "")
	write(t, path, "1")
	expect(t, first, "1")
	expect(t, second, "1")
	cancel()
	cancel() // twice is once
	write(t, path, "2")
	expect(t, second, "2")
	for len(first) > 0 {
		if got := <-first; got == "2" {
			t.Error("a cancelled watch was called")
		}
	}
}

func TestCallbacksMayAddAndCancel(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "f"), filepath.Join(dir, "g")
	w := newWatcher(t)
	changes := make(chan string, 100)
	var cancel func()
	ready := make(chan struct{})
	cancel, err := w.Add(path, "", func() {
		<-ready
		cancel()
		if _, err := w.Add(other, "", func() { changes <- "other" }); err != nil {
			t.Error(err)
		}
		changes <- "first"
	})
	must(t, err)
	close(ready)
	write(t, path, "1")
	expect(t, changes, "first")
	write(t, other, "1")
	expect(t, changes, "other")
	write(t, path, "2")
	write(t, other, "2")
	expect(t, changes, "other")
	for len(changes) > 0 {
		if got := <-changes; got == "first" {
			t.Error("a cancelled watch was called")
		}
	}
}

func TestMissingDirectoryIsAnErrorThatLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	w := newWatcher(t)
	for _, args := range [][2]string{{filepath.Join(dir, "no", "f"), ""}, {filepath.Join(dir, "f"), filepath.Join(dir, "no")}} {
		if _, err := w.Add(args[0], args[1], func() {}); err == nil {
			t.Errorf("Add(%v) worked", args)
		}
	}
	if len(w.files)+len(w.dirs)+len(w.fs.WatchList()) > 0 {
		t.Errorf("left over: %d files, %v, %v", len(w.files), w.dirs, w.fs.WatchList())
	}
}

func TestCancelReleasesTheDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	w := newWatcher(t)
	_, one := follow(t, w, path, "")
	_, two := follow(t, w, path, "")
	one()
	if len(w.fs.WatchList()) != 1 {
		t.Errorf("watched: %v", w.fs.WatchList())
	}
	two()
	if len(w.fs.WatchList()) != 0 || len(w.files) != 0 {
		t.Errorf("watched: %v", w.fs.WatchList())
	}
}

// A directory above the file is a link that comes to lead elsewhere, as deployments swap whole releases.
func TestLinkedDirectory(t *testing.T) {
	root := t.TempDir()
	for _, release := range []string{"one", "two"} {
		if err := os.MkdirAll(filepath.Join(root, release, "deep"), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, release, "deep", "file"), release)
	}
	link := func(to string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(root, "new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(root, "new"), filepath.Join(root, "current")); err != nil {
			t.Fatal(err)
		}
	}
	link("one")
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // nothing is left to fail
	changed := make(chan struct{}, 10)
	if _, err := w.Add(filepath.Join(root, "current", "deep", "file"), "", func() { changed <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	link("two")
	receive(t, changed)
	write(t, filepath.Join(root, "two", "deep", "file"), "three") // the watch has moved there
	receive(t, changed)
}

func TestFollowLooksOnceMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "read before the watch")
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // nothing is left to fail
	changed := make(chan struct{}, 10)
	cancel, err := w.Follow(path, "", func() { changed <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	receive(t, changed)
	write(t, path, "written afterwards")
	receive(t, changed)
	cancel()
	if _, err := w.Follow(filepath.Join(t.TempDir(), "no", "such"), "", nil); err == nil {
		t.Error("a directory that is not there is followed")
	}
}

func receive(t *testing.T, from <-chan struct{}) {
	t.Helper()
	select {
	case <-from:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody told of the change")
	}
}

// Whoever writes into the directory behind a link tells that it is done by putting the link in place once more.
func TestLinkToTheSameDirectoryAgain(t *testing.T) {
	w, dir := newWatcher(t), t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "v1"), 0o700))
	link, next := filepath.Join(dir, "current"), filepath.Join(dir, "next")
	must(t, os.Symlink("v1", link))
	changes := make(chan string, 100)
	_, err := w.Add(link, "", func() { changes <- "changed" })
	must(t, err)
	for range 2 {
		write(t, filepath.Join(dir, "v1", "key"), "1")
		must(t, os.Symlink("v1", next))
		must(t, os.Rename(next, link))
		expect(t, changes, "changed")
	}
	write(t, filepath.Join(dir, "beside"), "")
	write(t, filepath.Join(dir, "v1", "key"), "2")
	must(t, os.Symlink("nowhere", next))
	must(t, os.Rename(next, link)) // told of after what came before it
	must(t, os.Remove(link))
	must(t, os.Symlink("v1", link))
	expect(t, changes, "changed")
	if n := len(changes); n > 0 {
		t.Errorf("%d changes too many", n)
	}
}
