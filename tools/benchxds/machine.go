package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// foreignMost is the share of one core that others than the bench may have had in a pair of slices. Interrupts and threads of the
// kernel have about half of it. What else runs on the machine is seen in the 99th percentile long before it is in a median.
// Whether a pair counts is decided by this alone, and never by the latencies.
const foreignMost = 0.12

// usage is CPU time so far.
type usage struct {
	at        time.Time
	idle, own time.Duration // of the machine, and of weir and the bench
}

// foreign is how much of one core others have had since an earlier time.
func (u usage) foreign(since usage) float64 {
	wall := u.at.Sub(since.at)
	return (wall*time.Duration(runtime.NumCPU()) - (u.idle - since.idle) - (u.own - since.own)).Seconds() / wall.Seconds()
}

// usage reads what the machine and the bench have spent. Readers of statistics are as foreign as they are where weir is used.
func (b *bench) usage(w *weir) (usage, error) {
	u := usage{at: time.Now()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, fmt.Errorf("read CPU time of the machine: %w", err)
	}
	var user, nice, system, idle, iowait int64
	line, _, _ := strings.Cut(string(text), "\n")
	if _, err := fmt.Sscanf(line, "cpu %d %d %d %d %d", &user, &nice, &system, &idle, &iowait); err != nil {
		return u, fmt.Errorf("read CPU time of the machine from %q: %w", line, err)
	}
	// What is idle the kernel measures; of the rest it takes samples.
	const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
	u.idle = time.Duration(idle+iowait) * tick
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} { // the generators have ended and are counted in the latter
		var r unix.Rusage
		if err := unix.Getrusage(who, &r); err != nil {
			return u, fmt.Errorf("read CPU time of the bench: %w", err)
		}
		u.own += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	for _, pid := range []int{w.process.Process.Pid, b.backend.process.Process.Pid} {
		spent, err := measure.CPU(pid)
		if err != nil {
			return u, err
		}
		u.own += spent
	}
	u.own -= b.readers
	return u, nil
}
