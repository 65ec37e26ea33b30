package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// proxy is one process under measurement, or the backend.
type proxy struct {
	name    string
	port    int
	command string
	setup   setup

	process *exec.Cmd
	figures []float64
}

const backendPort = 19080

func (p *proxy) start(ctx context.Context, dir string, s shape) error {
	own, err := ownDir(dir, p.name)
	if err != nil {
		return err
	}
	f, args := p.setup(own, p.port, s)
	if err := writeFiles(own, f); err != nil {
		return err
	}
	p.process = exec.Command(p.command, args...)
	p.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	log, err := os.Create(filepath.Join(own, "log"))
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	p.process.Stdout, p.process.Stderr = log, log
	if err := p.process.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	if err := p.answers(ctx); err != nil {
		said, _ := os.ReadFile(log.Name()) // only for the message
		return fmt.Errorf("%s does not answer: %w\n%s", p.name, err, said)
	}
	return nil
}

// answers waits until the port takes connections.
func (p *proxy) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *proxy) stop() error {
	if p.process == nil || p.process.Process == nil {
		return nil
	}
	if err := p.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	_ = p.process.Wait() // its status says only how it was stopped
	return nil
}

// clockTick is USER_HZ, which Linux fixes at 100 for what user space sees.
const clockTick = 10 * time.Millisecond

// cpu is the user and system time of the process and its children so far.
func (p *proxy) cpu() (time.Duration, error) {
	pids, err := p.pids()
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("read CPU time of %s: %w", p.name, err)
		}
		ticks, err := parseStat(string(text))
		if err != nil {
			return 0, fmt.Errorf("read CPU time of %s: %w", p.name, err)
		}
		total += time.Duration(ticks) * clockTick
	}
	return total, nil
}

// resident is the resident memory of the process and its children in KB.
func (p *proxy) resident() (int, error) {
	pids, err := p.pids()
	if err != nil {
		return 0, err
	}
	total := 0
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, fmt.Errorf("read memory of %s: %w", p.name, err)
		}
		n := 0
		_, rest, ok := strings.Cut(string(text), "VmRSS:")
		if !ok {
			return 0, fmt.Errorf("read memory of %s: no VmRSS", p.name)
		}
		if _, err := fmt.Sscan(rest, &n); err != nil {
			return 0, fmt.Errorf("read memory of %s: %w", p.name, err)
		}
		total += n
	}
	return total, nil
}

// pids are the process and its children.
func (p *proxy) pids() ([]int, error) {
	own := p.process.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", own, own))
	if err != nil {
		return nil, fmt.Errorf("list children of %s: %w", p.name, err)
	}
	pids := []int{own}
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			return nil, fmt.Errorf("read children of %s: %w", p.name, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// parseStat returns utime + stime of proc(5)'s stat line; the command name may hold anything but ends at the last ")".
func parseStat(line string) (uint64, error) {
	_, rest, ok := strings.Cut(line[strings.LastIndexByte(line, ')')+1:], " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, errors.New("short stat line")
	}
	user, err := strconv.ParseUint(fields[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("utime: %w", err)
	}
	system, err := strconv.ParseUint(fields[12], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("stime: %w", err)
	}
	return user + system, nil
}
