package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// stoppedListener starts a process that holds a listening socket and is stopped, as a weir after SIGSTOP.
func stoppedListener(t *testing.T, l interface {
	net.Listener
	File() (*os.File, error)
},
) (pid int) {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "120")
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); !isStopped(cmd.Process.Pid); {
		if time.Now().After(deadline) {
			t.Fatal("it does not stop")
		}
		var info unix.Siginfo
		_ = unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WSTOPPED|unix.WNOWAIT, nil)
	}
	return cmd.Process.Pid
}

// TestStoppedDaemon has each command that asks a daemon say soon that this one does not answer.
func TestStoppedDaemon(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pid := stoppedListener(t, l.(*net.TCPListener))
	l.Close()
	path := filepath.Join(t.TempDir(), "admin")
	u, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	stopped := fmt.Sprintf("the process %d (sleep), whose admin interface is at %s, does not answer", pid, l.Addr())
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"top":     {[]string{"top", "--once", "--admin", l.Addr().String()}, []string{stopped, fmt.Sprintf("`kill -CONT %d`", pid)}},
		"events":  {[]string{"events", "--admin", l.Addr().String()}, []string{stopped}},
		"explain": {[]string{"explain", "192.0.2.1:80", "--admin", l.Addr().String()}, []string{stopped}},
		"doctor":  {[]string{"doctor", "--admin", l.Addr().String()}, []string{stopped}},
		"hung": {
			[]string{"top", "--json", "--admin", "unix:" + path},
			[]string{fmt.Sprintf("the process %d (", os.Getpid()), fmt.Sprintf("It is not stopped, so that it hangs or has too little of a processor: `kill -QUIT %d`", os.Getpid())},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			begun := time.Now()
			status := run(t.Context(), test.args, stdio{nil, &out, &errs})
			if took := time.Since(begun); status != exitError || took > 8*time.Second { // 5 s, and a loaded machine
				t.Errorf("status %d after %s", status, took)
			}
			for _, want := range append(test.want, "Captured connections stand still") {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, errs.String())
				}
			}
		})
	}
}

// TestSlowAnswer waits for a daemon that answers other questions meanwhile.
func TestSlowAnswer(t *testing.T) {
	ready := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			close(ready)
			return
		}
		<-ready
		fmt.Fprint(w, "slow")
	}))
	defer s.Close()
	got, err := askAdmin(t.Context(), strings.TrimPrefix(s.URL, "http://"), "", "/slow")
	if err != nil || got != "slow" {
		t.Errorf("%q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := askAdmin(ctx, strings.TrimPrefix(s.URL, "http://"), "", "/slow"); err == nil {
		t.Error("an answer after the question was taken back")
	}
}

// TestExecBesideStoppedWeir refuses to run a command whose connections a stopped weir captures.
func TestExecBesideStoppedWeir(t *testing.T) {
	_, dir, ids := capturing(t)
	if err := stalled(t.Context(), dir); err != nil {
		t.Fatalf("beside a weir that runs: %v", err)
	}
	cmd := exec.Command("sleep", "120")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.ExtraFiles = []*os.File{programFile(t, ids[0])}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if got := program.Holders(ids...)[ids[0]]; len(got) != 2 {
		t.Errorf("processes %v hold the program, want this one and %d", got, cmd.Process.Pid)
	}
	err := stalled(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d, is stopped", cmd.Process.Pid)) {
		t.Errorf("beside one that is stopped: %v", err)
	}
}

// capturing attaches a weir's programs to a cgroup, and gives its directory and the ids of those that capture.
func capturing(t *testing.T) (h *cgroup.Hierarchy, dir string, ids []uint32) {
	t.Helper()
	_, name, _ := pinning(t)
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	if dir, err = h.Path(name); err != nil {
		t.Fatal(err)
	}
	found, err := intercept.Capturing(dir)
	if err != nil || len(found) == 0 {
		t.Fatalf("capturing are %v (%v)", found, err)
	}
	for _, p := range found {
		ids = append(ids, p.ID)
	}
	return h, dir, ids
}

// programFile is another descriptor of a program that this process holds.
func programFile(t *testing.T, id uint32) *os.File {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fdinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		if err != nil || !strings.Contains(string(text), fmt.Sprintf("\nprog_id:\t%d\n", id)) || strings.Contains(string(text), "link_type") {
			continue
		}
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "program")
		t.Cleanup(func() { f.Close() })
		return f
	}
	t.Fatalf("this process has no descriptor of program %d", id)
	return nil
}
