package probe

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/netns"
)

// initialPIDs is the number of the initial pid namespace (PROC_PID_INIT_INO, include/linux/proc_ns.h).
const initialPIDs = 0xeffffffc

// namespaces probes what is needed to serve processes in other network namespaces than weir's.
func namespaces() []check {
	const own = "captured processes in other network namespaces than weir's are left to the fail policy"
	return []check{
		{
			Result{Name: "CAP_SYS_ADMIN (network namespaces of containers)", Optional: true, Consequence: own},
			enterNamespace,
		},
		{
			Result{
				Name: "CAP_SYS_PTRACE (network namespaces of containers)", Optional: true,
				Consequence: "for processes of other users: " + own,
			},
			func() error { return oneCapability(unix.CAP_SYS_PTRACE) },
		},
		{
			Result{Name: "the host's process ids", Optional: true, Consequence: own},
			hostPIDs,
		},
	}
}

// enterNamespace enters the network namespace that weir is in, which takes what entering another one takes.
func enterNamespace() error {
	n, err := netns.Current()
	if err != nil {
		return err
	}
	return n.Close()
}

func hostPIDs() error {
	var stat unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &stat); err != nil {
		return fmt.Errorf("look at pid namespace: %w", err)
	}
	if stat.Ino != initialPIDs {
		return fmt.Errorf("this process is in pid namespace %d, which has ids of its own", stat.Ino)
	}
	return nil
}
