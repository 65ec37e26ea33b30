package sock

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNetnsCookie(t *testing.T) {
	first, err := NetnsCookie()
	if err != nil || first == 0 {
		t.Fatalf("cookie %d, %v", first, err)
	}
	if again, err := NetnsCookie(); err != nil || again != first {
		t.Errorf("cookie %d (%v), want %d again", again, err, first)
	}
	other := make(chan uint64)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		cookie, err := NetnsCookie()
		if err != nil {
			t.Error(err)
		}
		other <- cookie
	}()
	if cookie := <-other; cookie == first {
		t.Errorf("cookie %d in another namespace too", cookie)
	}
}
