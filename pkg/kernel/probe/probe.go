// Package probe finds out what this host and this process's privileges allow weir's kernel half to do, and what follows where
// something is missing.
//
// It owns the list of what weir needs of the kernel, with the first version that has it. It must not know weir's own programs
// or configuration. It has no state; results of kernel probes are cached by cilium/ebpf for the life of the process.
package probe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

// Result is the outcome of one probe.
type Result struct {
	// Name of what was looked for.
	Name string
	// OK is true when it is there.
	OK bool
	// Optional things can be missing without interception being impossible.
	Optional bool
	// Privilege is true for what the process may do, as against what the host has.
	Privilege bool
	// Unknown is true of what the kernel does not tell for want of a privilege that an earlier result names; OK is false then.
	Unknown bool
	// Needs is the first kernel version that has it, such as "5.15"; empty when it is no matter of the kernel's version.
	Needs string
	// Found says what is there, such as the value of a limit, where that tells more than that it is there.
	Found string
	// Missing says what is wrong; empty when OK.
	Missing string
	// Consequence says what does not work without it.
	Consequence string
}

const noInterception = "no interception; weir works as an ordinary proxy"

// check is one probe: what it looks for, and how.
type check struct {
	Result
	probe func() error
}

// All runs every probe. The order is that in which a person would mend things: privileges, mounts, kernel features.
func All() []Result {
	results := run(privileges())
	lacking := slices.ContainsFunc(results, func(r Result) bool { return r.Privilege && !r.OK })
	results = append(results, run(slices.Concat(namespaces(), host()))...)
	features := kernelFeatures()
	if lacking {
		for n := range features {
			features[n].probe = unlessForbidden(features[n].probe)
		}
	}
	return append(results, run(features)...)
}

func run(checks []check) []Result {
	var results []Result
	for _, c := range checks {
		result := c.Result
		if err := c.probe(); err != nil {
			result.Missing, result.Unknown = err.Error(), errors.Is(err, errUnknown)
		} else {
			result.OK = true
		}
		results = append(results, result)
	}
	return results
}

var errUnknown = errors.New("not known without the capabilities that are missing")

// unlessForbidden has a probe that the kernel forbids tell nothing about what it looks for.
func unlessForbidden(probe func() error) func() error {
	return func() error {
		err := probe()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return errUnknown
		}
		return err
	}
}

// Missing returns the failed probes of what interception cannot do without.
func Missing() []Result {
	return slices.DeleteFunc(All(), func(r Result) bool { return r.OK || r.Optional || r.Unknown })
}

func privileges() []check {
	return []check{
		{
			Result{Name: "CAP_BPF or CAP_SYS_ADMIN", Privilege: true, Needs: "5.8", Consequence: noInterception},
			func() error { return oneCapability(unix.CAP_BPF, unix.CAP_SYS_ADMIN) },
		},
		{
			// CAP_SYS_ADMIN is enough to attach programs, but not to mark sockets.
			Result{Name: "CAP_NET_ADMIN", Privilege: true, Consequence: noInterception},
			func() error {
				if err := oneCapability(unix.CAP_NET_ADMIN); err == nil {
					return nil
				}
				return cmp.Or(oneCapability(unix.CAP_SYS_ADMIN), oneCapability(unix.CAP_NET_RAW))
			},
		},
		{
			// Without it the verifier applies the rules for unprivileged programs, which forbid what compilers do with
			// registers that they spill.
			Result{Name: "CAP_PERFMON or CAP_SYS_ADMIN", Privilege: true, Needs: "5.8", Consequence: noInterception},
			func() error { return oneCapability(unix.CAP_PERFMON, unix.CAP_SYS_ADMIN) },
		},
		{
			Result{
				Name: "write access to cgroup v2", Optional: true,
				Consequence: "the default cgroup cannot be created, nor processes moved by weirctl exec",
			},
			cgroupWritable,
		},
	}
}

func host() []check {
	return []check{
		{Result{Name: "cgroup v2", Needs: "4.5", Consequence: noInterception}, func() error {
			_, err := cgroup.Find()
			return err
		}},
		{Result{Name: "Linux 5.15 or later", Needs: "5.15", Consequence: noInterception}, func() error {
			return atLeast(5, 15)
		}},
		{
			Result{
				Name: "kernel BTF", Needs: "5.4", Optional: true,
				Consequence: noAcceleration + " (its programs are fitted to the kernel by BTF); bpftool shows less",
			},
			func() error {
				_, err := btf.LoadKernelSpec()
				return err
			},
		},
		{
			Result{
				Name: "bpffs", Needs: "4.4", Optional: true,
				Consequence: "weir mounts one when life_cycle.persistence asks for it, which takes CAP_SYS_ADMIN; else nothing outlives it",
			},
			mountedBPF,
		},
		{
			Result{
				Name: "BPF token (a bpffs that delegates)", Needs: "6.9", Optional: true, Found: strings.Join(delegations(), "; "),
				Consequence: "a weir that runs on the host misses nothing, since it needs no token; one in a user namespace, as in a rootless container, cannot load programs",
			},
			func() error {
				if len(delegations()) == 0 {
					return errors.New("no BPF file system is mounted with delegate_cmds, delegate_progs, delegate_maps or delegate_attachs")
				}
				return nil
			},
		},
		{
			Result{
				Name: "open files (RLIMIT_NOFILE) of 10000 or more", Optional: true, Found: limits(unix.RLIMIT_NOFILE),
				Consequence: "each proxied connection takes two descriptors; fewer concurrent connections",
			},
			func() error { return fileLimit(10000) },
		},
		{
			Result{
				Name: "BPF memory is not locked memory (RLIMIT_MEMLOCK)", Needs: "5.11", Found: limits(unix.RLIMIT_MEMLOCK),
				Consequence: noInterception,
			},
			func() error { return atLeast(5, 11) },
		},
	}
}

// program and helper pair what is probed with the kernel that brought it to that program type.
type helper struct {
	program ebpf.ProgramType
	fn      asm.BuiltinFunc
	needs   string
}

// What follows where a feature is missing that not everything rests on.
const (
	noInbound      = "what comes in for captured processes is not captured"
	noAcceleration = "no acceleration; payload goes by TCP"
)

func kernelFeatures() []check {
	return slices.Concat(programTypes(), mapTypes(), helpers())
}

func programTypes() []check {
	var checks []check
	for _, p := range []struct {
		kind    ebpf.ProgramType
		needs   string
		without string
	}{
		{ebpf.CGroupSockAddr, "4.17", noInterception},
		{ebpf.SockOps, "4.13", noInterception},
		{ebpf.SchedCLS, "4.1", noInterception},
		{ebpf.SkLookup, "5.9", noInbound},
		{ebpf.SkMsg, "4.17", noAcceleration},
	} {
		checks = append(checks, typeCheck("program type "+constant(p.kind.String()), p.needs, p.without, func() error { return features.HaveProgramType(p.kind) }))
	}
	return checks
}

func mapTypes() []check {
	var checks []check
	for _, m := range []struct {
		kind    ebpf.MapType
		needs   string
		without string
	}{
		{ebpf.LPMTrie, "4.11", noInterception},
		{ebpf.LRUHash, "4.10", noInterception},
		{ebpf.SkStorage, "5.2", noInterception},
		{ebpf.ArrayOfMaps, "4.12", noInterception},
		{ebpf.RingBuf, "5.8", noInterception},
		{ebpf.SockHash, "4.18", noAcceleration},
	} {
		checks = append(checks, typeCheck("map type "+constant(m.kind.String()), m.needs, m.without, func() error { return features.HaveMapType(m.kind) }))
	}
	return checks
}

// typeCheck is for a type of programs or maps, without which the consequence is that one of weir's functions is missing.
func typeCheck(name, needs, without string, have func() error) check {
	return check{Result{Name: name, Needs: needs, Consequence: without, Optional: without != noInterception}, have}
}

func helpers() []check {
	const eperm = "a connection that is refused fails with EPERM instead of ECONNREFUSED"
	var checks []check
	for _, h := range []struct {
		helper
		without string
	}{
		{helper{ebpf.CGroupSockAddr, asm.FnSkStorageGet, "5.8"}, noInterception},
		{helper{ebpf.CGroupSockAddr, asm.FnSkLookupTcp, "4.20"}, noInterception},
		{helper{ebpf.CGroupSockAddr, asm.FnGetNetnsCookie, "5.7"}, noInterception},
		{helper{ebpf.SockOps, asm.FnGetNetnsCookie, "5.15"}, noInterception},
		{helper{ebpf.SockOps, asm.FnSkStorageGet, "5.8"}, noInterception},
		{helper{ebpf.CGroupSockAddr, asm.FnSetRetval, "5.18"}, eperm},
		{helper{ebpf.SkLookup, asm.FnSkAssign, "5.9"}, noInbound},
		{helper{ebpf.SkMsg, asm.FnMsgRedirectHash, "4.18"}, noAcceleration},
	} {
		checks = append(checks, h.check(h.without, h.without != noInterception))
	}
	return checks
}

func (h helper) check(consequence string, optional bool) check {
	return check{
		Result{
			Name: fmt.Sprintf("helper bpf_%s in %s", snake(strings.TrimPrefix(h.fn.String(), "Fn")), constant(h.program.String())), Needs: h.needs,
			Consequence: consequence, Optional: optional,
		},
		func() error { return features.HaveProgramHelper(h.program, h.fn) },
	}
}

// constant is how the kernel's header (include/uapi/linux/bpf.h) names what Go names like CGroupSockAddr, without its prefix.
func constant(name string) string {
	switch name {
	case "CGroupSockAddr":
		return "CGROUP_SOCK_ADDR"
	case "LPMTrie":
		return "LPM_TRIE"
	case "LRUHash":
		return "LRU_HASH"
	case "SchedCLS":
		return "SCHED_CLS"
	case "RingBuf", "SockHash":
		return strings.ToUpper(name)
	}
	return strings.ToUpper(snake(name))
}

// snake puts a line before each capital but the first, and makes all small.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// oneCapability reports an error unless one of the capabilities is effective.
func oneCapability(capabilities ...uint) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for _, c := range capabilities {
		if data[c/32].Effective&(1<<(c%32)) != 0 {
			return nil
		}
	}
	return errors.New("not among the process's effective capabilities")
}

func cgroupWritable() error {
	h, err := cgroup.Find()
	if err != nil {
		return err
	}
	if err := unix.Access(h.Root(), unix.W_OK); err != nil {
		return fmt.Errorf("write to %s: %w", h.Root(), err)
	}
	return nil
}

// atLeast compares the running kernel's version.
func atLeast(major, minor uint32) error {
	code, err := features.LinuxVersionCode()
	if err != nil {
		return fmt.Errorf("read kernel version: %w", err)
	}
	if have, want := code>>8, major<<8|minor; have < want {
		return fmt.Errorf("this is Linux %d.%d", have>>8, have&0xff)
	}
	return nil
}

// mountedBPF looks for a BPF file system where weir keeps state unless it is told otherwise.
func mountedBPF() error {
	places := pin.Places("")
	for _, dir := range places {
		if ok, err := pin.Mounted(dir); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("none is mounted at %s", strings.Join(places, " or "))
}

// limits gives the values of a limit of this process.
func limits(resource int) string {
	var limit unix.Rlimit
	if err := unix.Getrlimit(resource, &limit); err != nil {
		return ""
	}
	text := func(n uint64) string {
		if n == unix.RLIM_INFINITY {
			return "unlimited"
		}
		return strconv.FormatUint(n, 10)
	}
	return fmt.Sprintf("soft %s, hard %s", text(limit.Cur), text(limit.Max))
}

func fileLimit(want uint64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read RLIMIT_NOFILE: %w", err)
	}
	if limit.Max < want {
		return fmt.Errorf("the hard limit is %d", limit.Max)
	}
	return nil
}
