package inbound

import (
	"errors"
	"fmt"
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
	for _, dir := range i.cgroups.Dirs() {
		failed = append(failed, i.name(dir))
	}
	return errors.Join(failed...)
}

func (i *Inbound) name(dir string) error {
	var failed []error
	switch named := len(i.names[dir]) > 0; {
	case i.plan.Names && !named:
		for _, hook := range i.objects.nameHooks() {
			l, err := hook.Attach(dir)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			i.names[dir] = append(i.names[dir], l)
		}
	case !i.plan.Names:
		failed = append(failed, i.unname(dir))
	}
	if err := errors.Join(failed...); err != nil {
		return &NamesError{err}
	}
	return nil
}

func (i *Inbound) unname(dir string) error {
	var failed []error
	for _, l := range i.names[dir] {
		failed = append(failed, l.Close())
	}
	delete(i.names, dir)
	return errors.Join(failed...)
}

func (i *Inbound) unnameAll() error {
	var failed []error
	for dir := range i.names {
		failed = append(failed, i.unname(dir))
	}
	return errors.Join(failed...)
}
