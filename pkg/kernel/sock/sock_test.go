package sock

import (
	"net"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMarkControl(t *testing.T) {
	for _, mark := range []uint32{DefaultMark, 1, 0xffffffff} {
		config := net.ListenConfig{Control: MarkControl(mark)}
		l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		conn, err := l.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		conn.Control(func(fd uintptr) {
			got, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK)
			if err != nil || uint32(got) != mark {
				t.Errorf("mark %#x (%v), want %#x", uint32(got), err, mark)
			}
		})
	}
	if err := SetMark(-1, 1); err == nil {
		t.Error("marking a bad descriptor succeeded")
	}
}

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
