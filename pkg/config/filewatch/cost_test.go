package filewatch

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// A change costs the reading of the files that it may concern, however many are watched.
func TestReadsOnlyWhatMayHaveChanged(t *testing.T) {
	const count = 1000
	w := newWatcher(t)
	var reads atomic.Int64
	w.read = func(path string) ([sha256.Size]byte, error) {
		reads.Add(1)
		return hashOf(path)
	}
	top := t.TempDir()
	names := make([]string, count)
	changes := make([]chan string, count)
	for i := range count {
		dir := filepath.Join(top, fmt.Sprint(i%10))
		must(t, os.MkdirAll(dir, 0o700))
		names[i] = filepath.Join(dir, fmt.Sprint(i))
		write(t, names[i], "old")
	}
	for i, name := range names {
		changes[i], _ = follow(t, w, name, "")
	}
	// A file beside them, and a link to one of them.
	link := filepath.Join(top, "0", "link")
	must(t, os.Symlink(names[0], link))
	linked, _ := follow(t, w, link, "")
	reads.Store(0)
	write(t, names[0], "new")
	expect(t, changes[0], "new")
	expect(t, linked, "new")
	must(t, os.WriteFile(filepath.Join(top, "1", "stranger"), nil, 0o600))
	write(t, names[1], "new")
	expect(t, changes[1], "new")
	// A write is two or three events; each concerns the file and, in its directory, the link.
	if got := reads.Load(); got > 20 {
		t.Errorf("%d files were read after two of %d changed", got, count)
	}
}

// A directory that is watched by two names tells its events by one of them.
func TestDirectoryOfTwoNames(t *testing.T) {
	w := newWatcher(t)
	top := t.TempDir()
	must(t, os.Mkdir(filepath.Join(top, "d"), 0o700))
	must(t, os.Symlink("d", filepath.Join(top, "l")))
	one, two := filepath.Join(top, "d", "f"), filepath.Join(top, "l", "f")
	write(t, one, "old")
	first, _ := follow(t, w, one, "")
	second, _ := follow(t, w, two, "")
	write(t, one, "new")
	expect(t, first, "new")
	expect(t, second, "new")
}
