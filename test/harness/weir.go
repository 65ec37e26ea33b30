package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/lifecycle/notify"
)

// AdminAddr is where weir's admin interface listens, on the host that it runs on.
const AdminAddr = "127.0.0.1:9901"

// adminOverlay is merged over the configuration under test.
const adminOverlay = `admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}`

// Weir is a weir process.
type Weir struct {
	t    testing.TB
	host *Host
	// Admin speaks to its admin interface.
	*Admin
	cmd  *exec.Cmd
	dir  string
	done chan struct{}
	err  error // of Wait, once done is closed
}

// WeirOptions say how weir is started.
type WeirOptions struct {
	// Config is the bootstrap, as YAML.
	Config string
	// Capture are cgroups whose connections it takes; Interception are further fields of weir.interception.v1.Interception,
	// in YAML's flow style, such as `fail_policy: CLOSED`.
	Capture      []*Cgroup
	Interception string
	// Bare leaves everything to Config: there is no admin interface, and nothing is merged over it.
	Bare bool
	// In is the cgroup that weir itself runs in, User whom it runs as, Hosts its /etc/hosts.
	In    *Cgroup
	User  uint32
	Hosts string
	// Under is a command that runs weir by exec, such as setpriv with its options; the command line of weir is added to it.
	Under []string
	// Flags are added to the command line.
	Flags []string
	// NotReady returns at once, for a weir that waits for something or is to fail.
	NotReady bool
}

// StartWeir starts weir on the host and waits until it serves. It is ended with the test, which fails when weir does not end
// with status 0 then; a test that ended it before has seen to that itself.
func (h *Host) StartWeir(o WeirOptions) *Weir {
	t := h.t
	t.Helper()
	w := &Weir{t: t, host: h, dir: Dir(t), done: make(chan struct{})}
	WriteFile(t, filepath.Join(w.dir, "bootstrap.yaml"), o.Config)
	ready, err := notify.Listen(filepath.Join(w.dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ready.Close() })
	if err := os.Chmod(filepath.Join(w.dir, "notify"), 0o777); err != nil {
		t.Fatal(err)
	}
	app := h.App().In(o.In).As(o.User)
	if o.Hosts != "" {
		app = app.Hosts(o.Hosts)
	}
	w.start(app, o)
	t.Cleanup(w.end)
	if !o.Bare {
		w.Admin = newAdmin(h)
	}
	if !o.NotReady {
		w.awaitReady(ready)
	}
	return w
}

func (w *Weir) start(app App, o WeirOptions) {
	w.t.Helper()
	args := []string{Binary("weir"), "-c", filepath.Join(w.dir, "bootstrap.yaml"), "--drain-time-s", "3", "--file-flush-interval-msec", "50"}
	if !o.Bare {
		args = append(args, "--config-yaml", adminOverlay+"\n"+interceptionOverlay(o))
	}
	w.cmd = app.command(slices.Concat(o.Under, args, o.Flags))
	w.cmd.Env = append(os.Environ(), notify.Environment+"="+filepath.Join(w.dir, "notify"), "GOTRACEBACK=all")
	stdout, stderr := w.create("stdout"), w.create("stderr")
	defer stdout.Close()
	defer stderr.Close()
	w.cmd.Stdout, w.cmd.Stderr = stdout, stderr
	if err := app.start(w.cmd); err != nil {
		w.t.Fatalf("start weir: %v", err)
	}
	go func() {
		w.err = w.cmd.Wait()
		close(w.done)
	}()
}

// create makes a file for an output. It takes appended writes, so that the log and a crash of the process do not overwrite each
// other.
func (w *Weir) create(name string) *os.File {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// interceptionOverlay captures the cgroups that the test named; without any, weir must not take those of the machine.
func interceptionOverlay(o WeirOptions) string {
	if len(o.Capture) == 0 {
		return "bootstrap_extensions: [" + interception("disabled: true") + "]"
	}
	var names []string
	for _, c := range o.Capture {
		names = append(names, c.Name)
	}
	fields := fmt.Sprintf("cgroups: [%s]", strings.Join(names, ", "))
	if o.Interception != "" {
		fields += ", " + o.Interception
	}
	if !strings.Contains(o.Interception, "required:") {
		fields += ", required: true"
	}
	return "bootstrap_extensions: [" + interception(fields) + "]"
}

func interception(fields string) string {
	return `{name: weir.interception, typed_config: {"@type": type.googleapis.com/weir.interception.v1.Interception, ` + fields + `}}`
}

func (w *Weir) awaitReady(ready *notify.Listener) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*Patience)
	defer cancel()
	live := make(chan error, 1)
	go func() { live <- ready.Wait(ctx, notify.Ready) }()
	select {
	case err := <-live:
		if err != nil {
			w.t.Fatalf("weir does not get ready: %v\n%s", err, w.Log())
		}
	case <-w.done:
		w.t.Fatalf("weir ended: %v\n%s", w.err, w.Log())
	}
}

// end stops weir after the test, and shows its log when the test failed.
func (w *Weir) end() {
	select {
	case <-w.done:
	default:
		if status := w.Stop(); status != 0 && !w.t.Failed() {
			w.t.Errorf("weir ended with status %d", status)
		}
	}
	for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if _, rest, found := strings.Cut(w.Log(), sign); found {
			w.t.Errorf("weir's log has %s%s", sign, head(rest, 50))
		}
	}
	if w.t.Failed() {
		w.t.Logf("weir's log:\n%s", tail(w.Log(), 60))
	}
}

func head(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[:min(len(all), lines)], "")
}

func tail(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

// Pid of the process.
func (w *Weir) Pid() int { return w.cmd.Process.Pid }

// Signal sends the process a signal.
func (w *Weir) Signal(s syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		w.t.Fatalf("signal weir: %v", err)
	}
}

// Wait waits until the process has ended, and returns its status.
func (w *Weir) Wait() int {
	w.t.Helper()
	timeout := time.NewTimer(2 * Patience)
	defer timeout.Stop()
	select {
	case <-w.done:
	case <-timeout.C:
		_ = w.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go to the log
		<-w.done
		w.t.Errorf("weir did not end within %s\n%s", 2*Patience, tail(w.Log(), 400))
	}
	return exitStatus(w.t, w.err)
}

// Stop ends the process as a service manager does, and returns its status.
func (w *Weir) Stop() int {
	w.t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.t.Fatalf("stop weir: %v", err)
	}
	return w.Wait()
}

// Kill ends the process as the kernel does.
func (w *Weir) Kill() {
	w.t.Helper()
	w.Signal(syscall.SIGKILL)
	<-w.done
}

// Ended is closed when the process has ended.
func (w *Weir) Ended() <-chan struct{} { return w.done }

// Log is what the process wrote to stderr, Stdout to stdout, so far.
func (w *Weir) Log() string { return w.read("stderr") }

// Stdout is what the process wrote to stdout so far.
func (w *Weir) Stdout() string { return w.read("stdout") }

func (w *Weir) read(name string) string {
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Files lists what the process has open, sorted: the targets of its descriptors.
func (w *Weir) Files() []string {
	w.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", w.Pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil {
			files = append(files, target)
		}
	}
	slices.Sort(files)
	return files
}

// CPU is the time that the process has computed so far, to the clock tick of 10 ms.
func (w *Weir) CPU() time.Duration {
	w.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.Pid()))
	if err != nil {
		w.t.Fatal(err)
	}
	// proc_pid_stat(5): utime and stime are fields 14 and 15; the second, in brackets, may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			w.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// Goroutines ends the process through the Go runtime's own dump, and counts the goroutines in it.
func (w *Weir) Goroutines() int {
	w.t.Helper()
	w.Signal(syscall.SIGQUIT)
	w.Wait()
	n := 0
	for line := range strings.Lines(w.Log()) {
		if strings.HasPrefix(line, "goroutine ") && strings.Contains(line, "[") {
			n++
		}
	}
	return n
}
