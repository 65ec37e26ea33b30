package acceleration

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// way sends chunks in one of several ways.
type way struct {
	by   sendBy
	file *os.File // of bySendfile; nil when there can be none
}

func (by sendBy) open() way {
	w := way{by: by}
	if by == bySendfile {
		if fd, err := unix.MemfdCreate("chunk", unix.MFD_CLOEXEC); err == nil {
			w.file = os.NewFile(uintptr(fd), "chunk")
		}
	}
	return w
}

func (w way) close() {
	if w.file != nil {
		w.file.Close()
	}
}

func (w way) send(c *net.TCPConn, p []byte) error {
	switch {
	case w.by == byWritev && len(p) > 2:
		parts := net.Buffers{p[:len(p)/3], p[len(p)/3 : len(p)/2], p[len(p)/2:]}
		_, err := parts.WriteTo(c)
		return err
	case w.file != nil:
		// A file of its own for each chunk: its pages are sent without a copy, and must not change while they wait.
		if err := w.file.Truncate(0); err != nil {
			return err
		}
		if _, err := w.file.WriteAt(p, 0); err != nil {
			return err
		}
		if _, err := w.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := c.ReadFrom(&io.LimitedReader{R: w.file, N: int64(len(p))})
		return err
	}
	_, err := c.Write(p)
	return err
}

// splicer reads a connection by splice(2) and a pipe.
type splicer struct {
	raw  syscall.RawConn
	r, w int
}

func newSplicer(c *net.TCPConn) *splicer {
	var fds [2]int
	raw, err := c.SyscallConn()
	if err == nil {
		err = unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK)
	}
	if err != nil {
		panic(err)
	}
	return &splicer{raw, fds[0], fds[1]}
}

func (s *splicer) close() {
	unix.Close(s.r)
	unix.Close(s.w)
}

// Read implements io.Reader.
func (s *splicer) Read(p []byte) (int, error) {
	var n int64
	var errno error
	err := s.raw.Read(func(fd uintptr) bool {
		n, errno = unix.Splice(int(fd), nil, s.w, nil, len(p), unix.SPLICE_F_NONBLOCK)
		return errno != unix.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case errno != nil:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	}
	return unix.Read(s.r, p[:n])
}
