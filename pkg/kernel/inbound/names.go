package inbound

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// NamesError says that applications cannot be told the addresses of clients, and see the proxy's. Everything else works.
type NamesError struct{ Err error }

// Error says so, and why.
func (e *NamesError) Error() string {
	return fmt.Sprintf("applications see weir's address instead of the client's: %v", e.Err)
}

// Unwrap returns the cause.
func (e *NamesError) Unwrap() error { return e.Err }

// nameAll makes what is attached to each cgroup for the names of clients what the plan asks for. The caller holds mu.
func (i *Inbound) nameAll() error {
	var failed []error
	for dir := range i.attached {
		failed = append(failed, i.name(dir))
	}
	return errors.Join(failed...)
}

func (i *Inbound) name(dir string) error {
	a := i.attached[dir]
	if i.plan.Names == (len(a.names) > 0) {
		return nil
	}
	var failed []error
	if !i.plan.Names {
		for _, l := range a.names {
			failed = append(failed, l.Close())
		}
		a.names = nil
	} else {
		for how, p := range map[ebpf.AttachType]*ebpf.Program{
			ebpf.AttachCgroupInet4GetPeername: i.objects.Peer4, ebpf.AttachCgroupInet6GetPeername: i.objects.Peer6,
		} {
			l, err := attachTo(dir, p, how)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			a.names = append(a.names, l)
		}
	}
	i.attached[dir] = a
	if err := errors.Join(failed...); err != nil {
		return &NamesError{err}
	}
	return nil
}
