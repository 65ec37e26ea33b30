// Package measure is what the benchmarks measure processes and read reports with.
//
// It owns no processes: it reads what the kernel says of them by their id. It must not know what is being compared. It
// holds no state.
package measure

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the user and system time that a process and its children have spent so far, as the scheduler counts it, in
// nanoseconds (clock_getcpuclockid(3)): /proc/PID/stat has ticks of 10 ms only.
func CPU(pid int) (time.Duration, error) {
	pids, err := family(pid)
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, pid := range pids {
		var t unix.Timespec
		const scheduler = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
		if err := unix.ClockGettime(int32(^pid<<3|scheduler), &t); err != nil {
			return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
		}
		total += time.Duration(t.Nano())
	}
	return total, nil
}

// Resident is the resident memory of a process and its children in KB.
func Resident(pid int) (int, error) { return memory(pid, "VmRSS:") }

// Peak is the most resident memory that a process and its children had so far, in KB.
func Peak(pid int) (int, error) { return memory(pid, "VmHWM:") }

func memory(pid int, line string) (int, error) {
	pids, err := family(pid)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
		}
		n := 0
		_, rest, ok := strings.Cut(string(text), line)
		if !ok {
			return 0, fmt.Errorf("read memory of process %d: no %s", pid, line)
		}
		if _, err := fmt.Sscan(rest, &n); err != nil {
			return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
		}
		total += n
	}
	return total, nil
}

// family are a process and its children.
func family(pid int) ([]int, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil, fmt.Errorf("list children of process %d: %w", pid, err)
	}
	pids := []int{pid}
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			return nil, fmt.Errorf("list children of process %d: %w", pids[0], err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// Median is the value in the middle, 0 of nothing.
func Median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Quantile is that of the latencies in an h2load log, in microseconds: lines of start time, status and microseconds, of which
// no status may be another than 200.
func Quantile(log string, q float64) (float64, error) {
	var all []int
	for line := range strings.Lines(log) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return 0, fmt.Errorf("latency log has the line %q", line)
		}
		us, err := strconv.Atoi(fields[2])
		if err != nil || fields[1] != "200" {
			return 0, fmt.Errorf("latency log has the line %q", line)
		}
		all = append(all, us)
	}
	if len(all) == 0 {
		return 0, errors.New("latency log is empty")
	}
	slices.Sort(all)
	return float64(all[int(q*float64(len(all)-1))]), nil
}

// H2load reads the number of good responses in h2load's report, and refuses one with failed requests. Streams that the end of
// the measured time cut off do not count.
func H2load(out string) (int, error) {
	m := regexp.MustCompile(`requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored`).FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("h2load's report is not understood: %s", out)
	}
	good, err := strconv.Atoi(m[1])
	switch {
	case err != nil || good == 0:
		return 0, fmt.Errorf("h2load's report has no good responses: %s", out)
	case m[2] != "0" || m[3] != "0":
		return 0, fmt.Errorf("requests failed: %s", out)
	}
	return good, nil
}
