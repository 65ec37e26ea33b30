package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/tools/bench/measure"
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

// cpu is the user and system time of the process and its children so far.
func (p *proxy) cpu() (time.Duration, error) { return measure.CPU(p.process.Process.Pid) }

// resident is the resident memory of the process and its children in KB.
func (p *proxy) resident() (int, error) { return measure.Resident(p.process.Process.Pid) }
