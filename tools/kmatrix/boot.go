package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/weir-proxy/weir/pkg/kernel/verifiertest"
)

// result is how a suite ended.
type result struct {
	ok              bool
	seconds         string
	passed, skipped int
	failed          []string
	costs           []verifiertest.Cost
}

// Marks of the guest's own lines on the console.
const (
	markBegin = "KMATRIX-BEGIN "
	markEnd   = "KMATRIX-END "
	markDone  = "KMATRIX-DONE"
)

// boot runs the guest until it powers off, and reads the outcome off its console.
func (m *matrix) boot(ctx context.Context, k *kernel, image, console string) (map[string]result, error) {
	log, err := os.Create(console)
	if err != nil {
		return nil, fmt.Errorf("make console log: %w", err)
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072", "-nographic", "-no-reboot", "-nodefaults",
		"-serial", "stdio", "-kernel", k.vmlinuz, "-initrd", image,
		"-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off net.ifnames=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	results, done, readErr := m.follow(io.TeeReader(out, log))
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return results, fmt.Errorf("it did not end in time; see %s: %w", console, ctx.Err())
	case err != nil || readErr != nil:
		return results, fmt.Errorf("run qemu; see %s: %w", console, errors.Join(err, readErr))
	case !done:
		return results, fmt.Errorf("the guest stopped before its end; see %s", console)
	}
	return results, nil
}

// follow reads the console. done tells that the guest came to its end.
func (m *matrix) follow(console io.Reader) (results map[string]result, done bool, err error) {
	results = map[string]result{}
	var now result
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if m.verbose {
			fmt.Println(line)
		}
		if at := strings.Index(line, markBegin); at > 0 {
			line = line[at:] // the firmware's last line has no end
		}
		switch {
		case strings.HasPrefix(line, markBegin):
			now = result{}
			fmt.Printf("  %s ...\n", strings.TrimPrefix(line, markBegin))
		case strings.HasPrefix(line, markEnd):
			name, rest, _ := strings.Cut(strings.TrimPrefix(line, markEnd), " ")
			status, seconds, _ := strings.Cut(rest, " ")
			code, err := strconv.Atoi(status)
			now.ok, now.seconds = err == nil && code == 0, seconds
			results[name] = now
		case strings.HasPrefix(line, markDone):
			done = true
		default:
			now.count(line)
		}
	}
	return results, done, lines.Err()
}

// count takes notice of a line of go test -v.
func (r *result) count(line string) {
	if cost, ok := verifiertest.Parse(line); ok {
		r.costs = append(r.costs, cost)
	}
	text := strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(text, "--- PASS:"):
		r.passed++
	case strings.HasPrefix(text, "--- SKIP:"):
		r.skipped++
	case strings.HasPrefix(text, "--- FAIL:"):
		r.failed = append(r.failed, text)
	}
}
