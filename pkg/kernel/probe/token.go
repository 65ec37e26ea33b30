package probe

import (
	"os"
	"slices"
	"strings"
)

// delegations lists the BPF file systems of this mount namespace that delegate something, with what. By one of those, who has CAP_BPF
// in a user namespace gets a token for what takes it in the initial one (BPF_TOKEN_CREATE, Linux 6.9); cilium/ebpf asks for a token by
// itself when it finds such a mount.
func delegations() []string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	return delegationsIn(string(text))
}

// delegationsIn reads a mountinfo (proc_pid_mountinfo(5)): the mount point is the fifth field; type, source and the options of the
// file system follow a field that is "-".
func delegationsIn(mountinfo string) []string {
	var out []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 5 || len(fields) < dash+4 || fields[dash+1] != "bpf" {
			continue
		}
		var what []string
		for option := range strings.SplitSeq(fields[dash+3], ",") {
			if strings.HasPrefix(option, "delegate_") {
				what = append(what, option)
			}
		}
		if len(what) > 0 {
			out = append(out, fields[4]+" "+strings.Join(what, " "))
		}
	}
	return out
}
