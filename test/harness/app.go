package harness

import (
	"bytes"
	"encoding/json"
	"errors"
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

// Nobody is the id of an ordinary user and of its group.
const Nobody = 65534

// App starts programs on a host, as the user and in the cgroup that it is given.
type App struct {
	host   *Host
	cgroup *Cgroup
	user   uint32
	hosts  string
	resolv string
}

// App is an application on the host: root, and not captured.
func (h *Host) App() App { return App{host: h} }

// In returns the application in a cgroup.
func (a App) In(c *Cgroup) App {
	a.cgroup = c
	return a
}

// As returns the application run by another user.
func (a App) As(user uint32) App {
	a.user = user
	return a
}

// Hosts returns the application with an /etc/hosts of its own.
func (a App) Hosts(text string) App {
	a.host.t.Helper()
	a.hosts = filepath.Join(Dir(a.host.t), "hosts")
	WriteFile(a.host.t, a.hosts, text)
	return a
}

// Result is how a program ended.
type Result struct {
	Out, Err string
	// Pid that the program had.
	Pid int
	// Status as a shell gives it: 128 + the signal when one ended it.
	Status int
}

// Run runs a program to its end, for at most twice Patience.
func (a App) Run(args ...string) Result {
	a.host.t.Helper()
	return a.Start(args...).Wait()
}

// Process is a program that runs.
type Process struct {
	t         testing.TB
	cmd       *exec.Cmd
	out, errs bytes.Buffer
	ended     chan struct{}
	err       error // of Wait, once ended is closed
}

// Start starts a program. It is killed when the test ends.
func (a App) Start(args ...string) *Process {
	t := a.host.t
	t.Helper()
	p := &Process{t: t, cmd: a.command(args), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errs
	// A child that holds the pipes must not keep the test from ending.
	p.cmd.WaitDelay = time.Second
	if err := a.start(p.cmd); err != nil {
		t.Fatalf("run %s: %v", args[0], err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has mostly ended
		<-p.ended
	})
	return p
}

// Pid of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal; a process that has just ended does not get it.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// HasEnded tells whether the program has ended.
func (p *Process) HasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Wait waits until the program has ended, for at most twice Patience.
func (p *Process) Wait() Result {
	p.t.Helper()
	timeout := time.NewTimer(2 * Patience)
	defer timeout.Stop()
	select {
	case <-p.ended:
	case <-timeout.C:
		_ = p.cmd.Process.Kill() // the test fails in any case
		<-p.ended
		p.t.Fatalf("%s did not end\nstdout: %s\nstderr: %s", strings.Join(p.cmd.Args, " "), &p.out, &p.errs)
	}
	return Result{Out: p.out.String(), Err: p.errs.String(), Pid: p.Pid(), Status: exitStatus(p.t, p.err)}
}

func exitStatus(t testing.TB, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return 0
	case !errors.As(err, &exit):
		t.Fatal(err)
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

// command prepares a program. Its process is the one that is started: what comes before it ends in exec.
func (a App) command(args []string) *exec.Cmd {
	if a.user != 0 {
		id := fmt.Sprint(a.user)
		args = append([]string{"setpriv", "--reuid=" + id, "--regid=" + id, "--clear-groups", "--no-new-privs", "--"}, args...)
	}
	if a.hosts != "" {
		args = append([]string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, a.hosts}, args...)
	}
	if a.resolv != "" {
		args = append([]string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, a.resolv}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return cmd
}

// start starts the program in the host's namespace, and in the cgroup from its first instruction.
func (a App) start(cmd *exec.Cmd) error {
	if a.cgroup != nil {
		dir, err := os.Open(a.cgroup.Dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	return a.host.Do(cmd.Start)
}

// Curl runs curl, quiet, with its own bound on time.
func (a App) Curl(args ...string) Result {
	a.host.t.Helper()
	return a.Run(append([]string{"curl", "-q", "-sS", "--noproxy", "*", "--max-time", "40"}, args...)...)
}

// Python runs a Python program given as text.
func (a App) Python(program string, args ...string) Result {
	a.host.t.Helper()
	return a.Run(append([]string{"python3", "-I", "-c", program}, args...)...)
}

// Connect makes one connection from a Go process.
func (a App) Connect(c Connect) Connected {
	t := a.host.t
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	got := a.Run("env", roleVariable+"="+connectRole, requestVariable+"="+string(text), os.Args[0])
	var out Connected
	if err := json.Unmarshal([]byte(got.Out), &out); err != nil {
		t.Fatalf("connect %+v: status %d: %v\n%s%s", c, got.Status, err, got.Out, got.Err)
	}
	return out
}

// Cgroup is a cgroup with a unique name.
type Cgroup struct {
	// Dir is its directory and Name what weir's configuration calls it.
	Dir, Name string
}

// NewCgroup makes a cgroup, removed with the test. What still runs in it then is an error.
func NewCgroup(t testing.TB) *Cgroup {
	t.Helper()
	name := cgroupPrefix() + strings.NewReplacer("/", "-", "#", "-", " ", "-").Replace(t.Name())
	for n := 1; ; n++ {
		if c := makeCgroup(t, fmt.Sprint(name, "-", n)); c != nil {
			return c
		}
	}
}

// Child makes a cgroup below.
func (c *Cgroup) Child(t testing.TB, name string) *Cgroup {
	t.Helper()
	child := makeCgroup(t, c.Name+"/"+name)
	if child == nil {
		t.Fatalf("cgroup %s/%s is there already", c.Name, name)
	}
	return child
}

// makeCgroup returns nil when there is one of that name.
func makeCgroup(t testing.TB, name string) *Cgroup {
	t.Helper()
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	dir, created, err := h.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if !created {
		return nil
	}
	t.Cleanup(func() {
		// A process that has just been waited for may still be on its way out of the cgroup.
		var err error
		for deadline := time.Now().Add(Patience); time.Now().Before(deadline); {
			if err = h.Remove(dir); !errors.Is(err, syscall.EBUSY) {
				break
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
	return &Cgroup{Dir: dir, Name: h.Name(dir)}
}
