package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Control sequences of xterm and all that take after it: the alternate screen, the cursor, and erasing.
const (
	screenBegin = "\x1b[?1049h\x1b[?25l"
	screenEnd   = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
)

// keyInterval is how often a signal, and another size of the terminal, is looked for.
const keyInterval = 100 * time.Millisecond

// screen is a terminal that is drawn on. It is used by one goroutine.
type screen struct {
	out           *os.File
	width, height int
	// keys is where keys are read from, nil when that is no terminal; before are its settings.
	keys   *os.File
	before *unix.Termios
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// openScreen prepares the terminal for being drawn on. close gives it back.
func openScreen(in io.Reader, out *os.File) (*screen, error) {
	s := &screen{out: out}
	s.measure()
	if keys, ok := in.(*os.File); ok && isTerminal(keys) {
		before, err := unix.IoctlGetTermios(int(keys.Fd()), unix.TCGETS)
		if err != nil {
			return nil, fmt.Errorf("read settings of terminal: %w", err)
		}
		direct := *before
		direct.Lflag &^= unix.ICANON | unix.ECHO // signals stay: Ctrl-C ends
		direct.Cc[unix.VMIN], direct.Cc[unix.VTIME] = 0, 0
		if err := unix.IoctlSetTermios(int(keys.Fd()), unix.TCSETS, &direct); err != nil {
			return nil, fmt.Errorf("set terminal: %w", err)
		}
		s.keys, s.before = keys, before
	}
	if _, err := out.WriteString(screenBegin); err != nil {
		return nil, errors.Join(fmt.Errorf("write to terminal: %w", err), s.close())
	}
	return s, nil
}

func (s *screen) close() error {
	_, err := s.out.WriteString(screenEnd)
	if s.keys != nil {
		if failed := unix.IoctlSetTermios(int(s.keys.Fd()), unix.TCSETS, s.before); err == nil {
			err = failed
		}
	}
	if err != nil {
		return fmt.Errorf("restore terminal: %w", err)
	}
	return nil
}

// measure reads the terminal's size and tells whether it is another one. One that does not know has the classic size.
func (s *screen) measure() bool {
	width, height := 80, 24
	if size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
		width, height = int(size.Col), int(size.Row)
	}
	changed := width != s.width || height != s.height
	s.width, s.height = width, height
	return changed
}

// show draws over what was there, which does not flicker.
func (s *screen) show(text string) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	_, err := s.out.WriteString(screenHome + strings.Join(lines, eraseLine+"\r\n") + eraseLine + eraseBelow)
	if err != nil {
		return fmt.Errorf("write to terminal: %w", err)
	}
	return nil
}

// wait returns a key, or 0 at the given time, when the terminal has another size, and when ctx is done.
func (s *screen) wait(ctx context.Context, until time.Time) byte {
	for ctx.Err() == nil && !s.measure() {
		left := min(time.Until(until), keyInterval)
		if left <= 0 {
			break
		}
		if s.keys == nil {
			select {
			case <-ctx.Done():
			case <-time.After(left):
			}
			continue
		}
		fds := []unix.PollFd{{Fd: int32(s.keys.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil || n == 0 {
			continue // a signal, or nothing
		}
		var key [1]byte
		n, err := unix.Read(int(s.keys.Fd()), key[:])
		if n == 1 {
			return key[0]
		}
		if err != unix.EINTR && err != unix.EAGAIN {
			return 'q' // the terminal is gone
		}
	}
	return 0
}
