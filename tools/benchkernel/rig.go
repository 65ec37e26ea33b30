package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// groupPrefix begins the names of the bench's cgroups; the id of its process follows.
const groupPrefix = "weir-benchkernel-"

// rig is what the bench makes on the host. It is used by one goroutine.
type rig struct {
	hierarchy *cgroup.Hierarchy
	dir       string
	children  []*child
	groups    []string
	spawned   int
}

// newRig also removes the cgroups of benches that were killed.
func newRig(dir string) (*rig, error) {
	h, err := cgroup.Find()
	if err != nil {
		return nil, fmt.Errorf("find cgroup v2: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(h.Root(), groupPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("look for cgroups: %w", err)
	}
	for _, group := range left {
		if err := h.Remove(group); err != nil && !errors.Is(err, syscall.EBUSY) { // another bench is busy there
			return nil, err
		}
	}
	return &rig{hierarchy: h, dir: dir}, nil
}

// group makes a cgroup and returns its name.
func (r *rig) group(name string) (string, error) {
	name = fmt.Sprintf("%s%d-%s", groupPrefix, os.Getpid(), name)
	dir, created, err := r.hierarchy.Create(name)
	if created {
		r.groups = append(r.groups, dir)
	}
	return name, err
}

// child is a process of the bench.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	log string
}

// program is what a child runs.
type program struct {
	// group is a cgroup of the rig, the bench's own one when empty; name is for its log.
	group, name string
	// asked keeps its standard output for answers; otherwise that goes to the log, too.
	asked   bool
	env     []string
	command string
	args    []string
}

// spawn starts a program, which does not outlive the bench.
func (r *rig) spawn(p program) (_ *child, err error) {
	c := &child{cmd: exec.Command(p.command, p.args...), log: filepath.Join(r.dir, fmt.Sprintf("%d-%s.log", r.spawned, p.name))}
	r.spawned++
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	c.cmd.Env = append(os.Environ(), p.env...)
	if p.group != "" {
		dir, err := os.Open(filepath.Join(r.hierarchy.Root(), p.group))
		if err != nil {
			return nil, fmt.Errorf("open cgroup: %w", err)
		}
		defer dir.Close()
		c.cmd.SysProcAttr.UseCgroupFD, c.cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if p.asked {
		c.cmd.Stdout = nil
		out, err := c.cmd.StdoutPipe()
		if err != nil {
			return nil, fmt.Errorf("make pipe: %w", err)
		}
		c.out = bufio.NewScanner(out)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	r.children = append(r.children, c)
	return c, nil
}

// said is the end of what a process wrote to its log, for messages.
func (c *child) said() string {
	text, _ := os.ReadFile(c.log) // only for the message
	return string(text[max(0, len(text)-3000):])
}

// stop ends a process: the bench's own ones by the end of their input, others by a signal.
func (r *rig) stop(c *child) {
	for i, other := range r.children {
		if other == c {
			r.children = append(r.children[:i], r.children[i+1:]...)
			_ = c.in.Close() // it may have ended by itself
			_ = c.cmd.Process.Signal(syscall.SIGTERM)
			_ = c.cmd.Wait() // its status says only how it was stopped
			return
		}
	}
}

// clear ends all processes.
func (r *rig) clear() {
	for len(r.children) > 0 {
		r.stop(r.children[len(r.children)-1])
	}
}

// close ends all processes and removes the cgroups.
func (r *rig) close() error {
	r.clear()
	var failed []error
	for _, dir := range r.groups {
		failed = append(failed, r.hierarchy.Remove(dir))
	}
	r.groups = nil
	return errors.Join(failed...)
}

// application starts this program in a role.
func (r *rig) application(group, role string, env ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return r.spawn(program{
		group: group, name: role, asked: true, command: self, args: []string{"-role", role},
		env: append(env, "GODEBUG=asyncpreemptoff=1"), // a signal that makes a goroutine yield would interrupt connect()
	})
}

// ask gives a process work and waits for what came of it; the process is killed when ctx ends before.
func (c *child) ask(ctx context.Context, question, answer any) error {
	defer context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })()
	text, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("encode a question: %w", err)
	}
	if _, err := c.in.Write(append(text, '\n')); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("ask a process: %w\n%s", err, c.said()))
	}
	if !c.out.Scan() {
		return errors.Join(ctx.Err(), fmt.Errorf("a process ended: %s", c.said()))
	}
	line := c.out.Text()
	if reason, failed := strings.CutPrefix(line, "!"); failed {
		return errors.New(reason)
	}
	if err := json.Unmarshal([]byte(line), answer); err != nil {
		return fmt.Errorf("decode an answer: %w", err)
	}
	return nil
}

// answerAll reads questions, and writes what answer makes of each, until the input ends.
func answerAll[Q any](in io.Reader, out io.Writer, answer func(Q) (any, error)) error {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var question Q
		if err := json.Unmarshal(lines.Bytes(), &question); err != nil {
			return fmt.Errorf("decode a question: %w", err)
		}
		text := []byte(nil)
		got, err := answer(question)
		if err == nil {
			text, err = json.Marshal(got)
		}
		if err != nil {
			text = []byte("!" + strings.ReplaceAll(err.Error(), "\n", " "))
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return nil
}
