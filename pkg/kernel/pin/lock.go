package pin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// BusyError says that another process owns the state.
type BusyError struct {
	// Dir is the directory of the instance.
	Dir string
	// PIDs of the owners as this process sees them; empty when they cannot be seen.
	PIDs []int
}

// Error names the owner.
func (e *BusyError) Error() string {
	owner := "another process"
	if len(e.PIDs) > 0 {
		owner = "the weir with pid " + strings.Trim(fmt.Sprint(e.PIDs), "[]")
	}
	return fmt.Sprintf("%s owns the pinned state in %s", owner, e.Dir)
}

// tryLock takes the lock of a directory that is open, without waiting; false when somebody else has it.
func tryLock(dir *os.File) (bool, error) {
	err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	return true, nil
}

// How often the lock is tried for, and how many times when it is not waited for.
const (
	lockRetry = 20 * time.Millisecond
	lockTries = 10
)

// holders lists the processes that hold a flock on a directory, in ascending order. The kernel shows a lock with each
// descriptor that holds it (/proc/PID/fdinfo, Linux 4.1), so that a lock which was inherited is seen with its heir.
func holders(dir string) []int {
	var stat unix.Stat_t
	if unix.Stat(dir, &stat) != nil {
		return nil
	}
	// Device numbers are written in hexadecimal, major and minor apart.
	mark := fmt.Sprintf(" %02x:%02x:%d ", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	found, err := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range found {
		if !holds(name, mark) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(name, "/")[2])
		if err == nil && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// holds looks for the lock line of one descriptor; a process that has ended meanwhile holds nothing.
func holds(fdinfo, mark string) bool {
	text, err := os.ReadFile(fdinfo)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "lock:") && strings.Contains(line, "FLOCK") && strings.Contains(line, mark) {
			return true
		}
	}
	return false
}
