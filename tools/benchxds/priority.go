package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A control plane is on a machine of its own. That of the bench shares the cores with weir, which must not wait for one because it is
// busy: so it yields.
const (
	yielding = 10
	ordinary = "-10" // takes what is started from there back to where it would be
	// priority of the generator and of the backend, which are above weir so that what is measured is weir, not how long they wait for
	// a core.
	priority = "-25"
)

// yield lowers the priority of this process, thread by thread, as Linux has it. Threads that are made later are as those that make
// them.
func yield() error {
	for range 2 { // the second time for those that were made meanwhile
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err == nil {
				err = unix.Setpriority(unix.PRIO_PROCESS, id, yielding)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("lower priority: %w", err)
			}
		}
	}
	return nil
}
