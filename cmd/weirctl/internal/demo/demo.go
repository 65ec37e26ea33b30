// Package demo is the demonstration that `weirctl demo` runs: an online shop whose calls are intercepted, encrypted and
// shifted from one version of a service to another by a control plane.
//
// It owns everything that it needs: a mount and a network namespace, a cgroup, a temporary directory, a certificate
// authority, two backends, a control plane, a weir and the curls that play the shop. It leaves none of it behind. It must
// not know weir's insides: it sees what a user sees. One goroutine tells the story; others, which it waits for, serve.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/probe"
)

// ErrReported is returned when the demonstration did not succeed and has already said why.
var ErrReported = errors.New("the demonstration did not succeed")

// limit bounds the whole demonstration, which takes about 10 seconds; patience is for what the second process does to end.
const (
	limit    = 2 * time.Minute
	patience = 15 * time.Second
)

// Streams are where the demonstration is told and where its errors go.
type Streams struct {
	Out, Err io.Writer
}

// Inside is what the second process, which runs in the namespaces, is told by the first one. The words follow the verb on
// its command line.
const Inside = "--inside"

// Run runs the demonstration: it prepares what must be removed afterwards, runs this program again in namespaces of its
// own, and removes it all, also when ctx ends. The process must be root's.
func Run(ctx context.Context, std Streams) (err error) {
	// The terminal may go away too; a signal that is caught lets everything be removed.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := possible(); err != nil {
		return err
	}
	h, err := cgroup.Find()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-demo-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	name := "weir.demo." + strconv.Itoa(os.Getpid())
	group, _, err := h.Create(name)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	p := place{dir: dir, group: group, name: "/" + name}
	defer func() { err = errors.Join(err, p.remove(h)) }()
	return again(ctx, p, std)
}

// possible tells what is missing here.
func possible() error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: it loads programs into the kernel and makes namespaces and a cgroup (sudo weirctl demo)")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		return fmt.Errorf("find curl, which plays the shop (apt install curl): %w", err)
	}
	if _, err := beside("weir"); err != nil {
		return err
	}
	for _, r := range probe.All() {
		if !r.OK && !r.Optional {
			return fmt.Errorf("this host cannot intercept: %s: %s (weirctl doctor tells more)", r.Name, r.Missing)
		}
	}
	return nil
}

// beside finds a program that is installed with this one.
func beside(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s beside weirctl: %w", name, err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find %s beside weirctl (make build makes both): %w", name, err)
	}
	return path, nil
}

// again runs this program in new namespaces. It ends with this process: then it removes everything itself.
func again(ctx context.Context, p place, std Streams) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find weirctl: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "demo", Inside, p.dir, p.name)
	cmd.Stdout, cmd.Stderr = std.Out, std.Err
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return ErrReported
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted: %w", ctx.Err())
	case err != nil:
		return fmt.Errorf("run the demonstration in namespaces of its own: %w", err)
	}
	return nil
}

// RunInside is Run's second process, with the two words after Inside. Its error has been told when it is ErrReported.
func RunInside(ctx context.Context, words []string, std Streams) (err error) {
	if len(words) != 2 {
		return fmt.Errorf("%s is for weirctl itself", Inside)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	h, err := cgroup.Find()
	if err != nil {
		return err
	}
	group, err := h.Path(words[1])
	if err != nil {
		return err
	}
	p := place{dir: words[0], group: group, name: words[1]}
	// The first process does the same, unless it was killed.
	defer func() { err = errors.Join(err, p.remove(h)) }()
	if err := p.isolate(); err != nil {
		return err
	}
	s, err := open(ctx, p, newReport(std.Out))
	if err != nil {
		return err
	}
	err = s.tell(ctx)
	if err == nil && s.failed() {
		err = ErrReported
	}
	if err != nil && ctx.Err() == nil {
		s.weir.printLog(std.Err)
	}
	err = errors.Join(err, s.close())
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("it took more than %v: %w", limit, err)
	case ctx.Err() != nil:
		return errors.New("interrupted; everything that it made was removed")
	}
	return err
}
