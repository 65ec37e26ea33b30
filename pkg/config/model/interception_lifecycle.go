package model

import "cmp"

// Persistence says how long the kernel's half of weir stays (weir.interception.v1.LifeCycle.Persistence).
type Persistence uint8

// Persistences; a greater one outlives more.
const (
	// PersistProcess ends with the process.
	PersistProcess Persistence = iota
	// PersistUntilStopped outlives a crash, and ends when weir is stopped in order.
	PersistUntilStopped
	// PersistAlways ends when somebody removes it.
	PersistAlways
)

// LifeCycle is weir.interception.v1.LifeCycle.
type LifeCycle struct {
	Persistence Persistence
	// FS is the directory of the BPF file system; empty for the host's usual one.
	FS string
	// KeepPrivileges keeps all capabilities that the process was started with.
	KeepPrivileges bool
}

// with combines two of them as Interception.With does.
func (l LifeCycle) with(later LifeCycle) LifeCycle {
	return LifeCycle{
		Persistence: max(l.Persistence, later.Persistence), FS: cmp.Or(later.FS, l.FS), KeepPrivileges: l.KeepPrivileges || later.KeepPrivileges,
	}
}
