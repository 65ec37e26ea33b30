package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/lifecycle/notify"
)

const execHelp = `usage: weirctl exec [-c FILE] [-l LEVEL] -- COMMAND [ARGUMENTS]

Runs COMMAND with its connections intercepted, and exits with its status (128 + the signal when one ended it).

With -c a private weir is started from FILE for as long as COMMAND runs. Without it, the running daemon takes the
connections: one that was not told which cgroups to capture takes those of this command.

  -c FILE    bootstrap configuration of a private weir
  -l LEVEL   its log level (default: warning)
`

// exitNotRun is the shell's status for a command that could not be run.
const exitNotRun = 127

// startTimeout bounds the start of a private weir: its configuration may come from a control plane.
const startTimeout = 60 * time.Second

func runExec(ctx context.Context, args []string, std stdio) int {
	config, level := "", "warning"
	for len(args) > 0 && args[0] != "--" {
		switch {
		case args[0] == "--help" || args[0] == "-h":
			fmt.Fprint(std.out, execHelp)
			return exitOK
		case args[0] == "-c" && len(args) > 1:
			config, args = args[1], args[2:]
		case args[0] == "-l" && len(args) > 1:
			level, args = args[1], args[2:]
		default:
			return misuse(std, "exec", fmt.Errorf("unexpected argument %q: the command comes after --", args[0]), execHelp)
		}
	}
	if len(args) < 2 {
		return misuse(std, "exec", errors.New("there is no command"), execHelp)
	}
	status, err := intercepted(ctx, config, level, args[1:], std)
	if err != nil {
		fmt.Fprintf(std.err, "weirctl exec: %v\n", err)
	}
	return status
}

// intercepted runs the command in a cgroup whose connections weir takes.
func intercepted(ctx context.Context, config, level string, command []string, std stdio) (status int, err error) {
	h, err := cgroup.Find()
	if err != nil {
		return exitError, err
	}
	name := "weir.private." + strconv.Itoa(os.Getpid())
	if config == "" {
		parent, err := h.Path(steer.DefaultCgroup)
		if err != nil {
			return exitError, err
		}
		if ok, err := intercept.Attached(parent); err != nil || !ok {
			return exitError, errors.Join(notTaken(h), err)
		}
		if err := stalled(ctx, parent); err != nil {
			return exitError, err
		}
		name = filepath.Join(steer.DefaultCgroup, strconv.Itoa(os.Getpid()))
	}
	dir, _, err := h.Create(name)
	if err != nil {
		return exitError, err
	}
	defer func() { err = errors.Join(err, h.Remove(dir)) }()
	if config != "" {
		stop, err := startPrivate(ctx, config, level, name, std)
		if err != nil {
			return exitError, err
		}
		defer stop()
	}
	return runIn(dir, command, std)
}

// notTaken says what to do when no weir captures the cgroup of commands. One that was told which cgroups to capture takes those alone.
func notTaken(h *cgroup.Hierarchy) error {
	const text = "no running weir takes connections of this command: "
	captured, err := intercept.Captured(h)
	if err != nil || len(captured) == 0 {
		return errors.New(text + "start one, or give a configuration with -c")
	}
	var names []string
	for _, dir := range captured {
		names = append(names, h.Name(dir))
	}
	return fmt.Errorf(text+"captured are %s; add %s to the cgroups of weir.interception, or give a configuration with -c",
		strings.Join(names, ", "), steer.DefaultCgroup)
}

// privateWeir is a weir for one command.
type privateWeir struct {
	cmd   *exec.Cmd
	ready *notify.Listener
	temp  string        // a directory with all that it makes
	ended chan struct{} // closed at its end, which err tells of
	err   error
}

// startPrivate starts a weir that captures one cgroup, and returns once it serves.
func startPrivate(ctx context.Context, config, level, name string, std stdio) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find weir beside weirctl: %w", err)
	}
	p := &privateWeir{ended: make(chan struct{})}
	if p.temp, err = os.MkdirTemp("", "weirctl-exec-"); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	socket := filepath.Join(p.temp, "notify")
	if p.ready, err = notify.Listen(socket); err != nil {
		os.RemoveAll(p.temp)
		return nil, err
	}
	p.cmd = exec.Command(filepath.Join(filepath.Dir(self), "weir"), "-c", config, "--config-yaml", captureOverlay(name, p.pins()),
		"--use-dynamic-base-id", "-l", level, "--drain-strategy", "immediate", "--drain-time-s", "1")
	p.cmd.Stdout, p.cmd.Stderr = std.err, std.err
	p.cmd.Env = append(os.Environ(), notify.Environment+"="+socket)
	// A process group of its own: Ctrl-C is for the command, weir outlives it. It dies with weirctl.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		p.remove()
		return nil, fmt.Errorf("start weir: %w", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	if err := p.serves(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p.stop, nil
}

// serves waits until it does.
func (p *privateWeir) serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	live := make(chan error, 1)
	go func() { live <- p.ready.Wait(ctx, notify.Ready) }()
	select {
	case err := <-live:
		if err != nil {
			return fmt.Errorf("wait for weir to serve: %w", err)
		}
		return nil
	case <-p.ended:
		cancel()
		<-live
	}
	if p.err == nil {
		return errors.New("weir did not start: it exited")
	}
	return fmt.Errorf("weir did not start: %w", p.err)
}

// stop ends it, and removes what it made.
func (p *privateWeir) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-p.ended
	p.remove()
}

func (p *privateWeir) remove() {
	p.ready.Close()
	// Where the configuration asks for it, a file system with the state of a weir that there will be no successor of.
	_ = unix.Unmount(p.pins(), unix.MNT_DETACH)
	os.RemoveAll(p.temp)
}

func (p *privateWeir) pins() string { return filepath.Join(p.temp, "bpf") }

// captureOverlay is configuration that is merged over the user's: capture this cgroup, and keep away from the state of other weirs.
func captureOverlay(name, pins string) string {
	return fmt.Sprintf(`{"bootstrap_extensions": [{"name": "weir.interception", "typed_config": {`+
		`"@type": "type.googleapis.com/weir.interception.v1.Interception", "cgroups": [%q], "required": true, "life_cycle": {"bpf_fs": %q}}}]}`, "/"+name, pins)
}

// runIn runs the command from its first instruction inside the cgroup and passes signals on.
func runIn(dir string, command []string, std stdio) (int, error) {
	cg, err := os.Open(dir)
	if err != nil {
		return exitError, fmt.Errorf("open cgroup: %w", err)
	}
	defer cg.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = std.in, std.out, std.err
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cg.Fd())}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return exitNotRun, fmt.Errorf("run %s: %w", command[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// The terminal already told the whole foreground group of Ctrl-C and Ctrl-\.
			if s != syscall.SIGINT && s != syscall.SIGQUIT {
				_ = cmd.Process.Signal(s) // it may have just ended
			}
		case err := <-done:
			return exitStatus(err)
		}
	}
}

// exitStatus is the status that a shell would give.
func exitStatus(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return exitOK, nil
	case !errors.As(err, &exit):
		return exitNotRun, err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return exit.ExitCode(), nil
}
