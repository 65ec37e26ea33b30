package accel

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// target is a cgroup that one of the two sockops programs is attached to. The id tells it from a later one of the same name.
type target struct {
	dir  string
	id   uint64
	full bool
}

func attachToMap(m *ebpf.Map, p *ebpf.Program) error {
	return link.RawAttachProgram(link.RawAttachProgramOptions{Target: m.FD(), Program: p, Attach: ebpf.AttachSkMsgVerdict})
}

// Attach makes the cgroups (directories) whose sockets are taken in those of captured and of full; the latter's sockets may be
// redirected into. What can be attached is, also when something else cannot.
func (a *Accelerator) Attach(captured, full []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errors.New("attach acceleration: it was closed")
	}
	var errs []error
	want := map[target]bool{}
	for i, dirs := range [][]string{captured, full} {
		for _, dir := range dirs {
			id, err := cgroup.ID(dir)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			t := target{dir, id, i == 1}
			want[t] = true
			if a.attached[t] == nil {
				errs = append(errs, a.attach(t))
			}
		}
	}
	for t, l := range a.attached {
		if !want[t] {
			errs = append(errs, l.Close())
			delete(a.attached, t)
		}
	}
	return errors.Join(errs...)
}

func (a *Accelerator) attach(t target) error {
	dir, err := os.Open(t.dir)
	if err != nil {
		return fmt.Errorf("attach acceleration to cgroup: %w", err)
	}
	defer dir.Close()
	program := a.objects.Sockops
	if t.full {
		program = a.objects.SockopsFull
	}
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: int(dir.Fd()), Program: program, Attach: ebpf.AttachCGroupSockOps})
	if err != nil {
		return fmt.Errorf("attach acceleration to cgroup %s: %w", t.dir, err)
	}
	a.attached[t] = l
	return nil
}
