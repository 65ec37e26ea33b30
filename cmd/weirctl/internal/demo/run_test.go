package demo

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// TestRun runs the demonstration as a user does: to its end, and interrupted in several ways. Nothing may be left behind.
func TestRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the demonstration needs root")
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./cmd/weir", "./cmd/weirctl")
	build.Dir = "../../../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	tests := []struct {
		name string
		// at is the beginning of the line at which signal is sent.
		at     string
		signal syscall.Signal
		status int
		says   string
	}{
		{name: "whole", status: 0, says: "All was as it should be."},
		{"interrupted at the start", "An online shop", syscall.SIGINT, 1, "interrupted"},
		{"interrupted at the canary", "4. ", syscall.SIGINT, 1, "interrupted"},
		{"ended during the download", "   xDS", syscall.SIGTERM, 1, "interrupted"},
		{"killed", "4. ", syscall.SIGKILL, -1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			temp := t.TempDir()
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "weirctl"), "demo")
			cmd.Env = append(os.Environ(), "TMPDIR="+temp)
			status, out := runUntil(t, cmd, tt.at, tt.signal)
			if status != tt.status || !strings.Contains(out, tt.says) || strings.Contains(out, "FAIL") {
				t.Errorf("exit status %d; it said:\n%s", status, out)
			}
			goneSoon(t, temp, cmd.Process.Pid)
		})
	}
}

// runUntil runs the command, sends a signal when it writes a line that begins with at, and returns how it ended.
func runUntil(t *testing.T, cmd *exec.Cmd, at string, signal syscall.Signal) (status int, out string) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	if err := read.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	lines := bufio.NewScanner(read) // ends when the last process that writes has ended
	for lines.Scan() {
		fmt.Fprintln(&all, lines.Text())
		if at != "" && strings.HasPrefix(lines.Text(), at) {
			if err := cmd.Process.Signal(signal); err != nil {
				t.Error(err)
			}
			at = ""
		}
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // its status is asked below
	return cmd.ProcessState.ExitCode(), all.String()
}

// goneSoon waits until the demonstration that had the process id has left nothing.
func goneSoon(t *testing.T, temp string, pid int) {
	t.Helper()
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		left, err := filepath.Glob(filepath.Join(temp, "*"))
		if err != nil {
			t.Fatal(err)
		}
		group := filepath.Join(h.Root(), fmt.Sprintf("weir.demo.%d", pid))
		if _, err := os.Stat(group); err == nil {
			left = append(left, group)
		}
		left = append(left, processes(t, temp)...)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %q", left)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("left behind: %q", left)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// processes lists those whose command line names a directory.
func processes(t *testing.T, dir string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && bytes.Contains(line, []byte(dir)) {
			found = append(found, f+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}
