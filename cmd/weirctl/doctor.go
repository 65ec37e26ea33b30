package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/probe"
)

const doctorHelp = `usage: weirctl doctor [--json] [--bpf-fs DIR] [--admin ADDR | -c FILE]

Looks at this host and this process's privileges, and says what of weir works here, what is missing and what that means; what
weirs have pinned, and who owns it; which cgroups are captured, and programs of others at the same hooks.
Exits 1 when interception is impossible. Everything else of weir works without any of it.

  --json        print the same as JSON
  --bpf-fs DIR  the BPF file system, where life_cycle.bpf_fs names one (default: /sys/fs/bpf and /run/weir/bpf)
  --admin ADDR  also say which network namespaces the daemon with this admin interface serves: HOST:PORT or unix:PATH
  -c FILE       the same, with the address of the admin interface from this bootstrap configuration
`

func runDoctor(ctx context.Context, args []string, std stdio) int {
	admin, config, places, asJSON := "", "", pin.Places(""), false
	for len(args) > 0 {
		switch {
		case args[0] == "--help" || args[0] == "-h":
			fmt.Fprint(std.out, doctorHelp)
			return exitOK
		case args[0] == "--json":
			asJSON, args = true, args[1:]
		case args[0] == "--bpf-fs" && len(args) > 1:
			places, args = pin.Places(args[1]), args[2:]
		case args[0] == "--admin" && len(args) > 1:
			admin, args = args[1], args[2:]
		case args[0] == "-c" && len(args) > 1:
			config, args = args[1], args[2:]
		default:
			return misuse(std, "doctor", fmt.Errorf("unexpected argument %q", args[0]), doctorHelp)
		}
	}
	found := examineHost(places)
	var err error
	if admin != "" || config != "" {
		found.Daemon, err = examineDaemon(ctx, admin, config)
	}
	if asJSON {
		e := json.NewEncoder(std.out)
		e.SetIndent("", "  ")
		err = cmp.Or(err, e.Encode(found))
	} else {
		err = cmp.Or(err, found.print(std.out))
	}
	if err != nil {
		fmt.Fprintln(std.err, "weirctl doctor:", err)
		return exitError
	}
	if !found.Interception {
		return exitError
	}
	return exitOK
}

// diagnosis is all that the doctor has found.
type diagnosis struct {
	// Interception is true when nothing that it needs is missing.
	Interception bool          `json:"interception"`
	Checks       []checkResult `json:"checks"`
	Kernel       kernelState   `json:"kernel"`
	Daemon       *daemonState  `json:"daemon,omitempty"`
}

// checkResult is the outcome of a probe.
type checkResult struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Optional bool   `json:"optional"`
	// Needs is the first Linux that has it.
	Needs       string `json:"needs_linux,omitempty"`
	Found       string `json:"found,omitempty"`
	Missing     string `json:"missing,omitempty"`
	Consequence string `json:"without_it,omitempty"`
}

// examineHost runs all probes and looks at what is attached.
func examineHost(places []string) *diagnosis {
	found := &diagnosis{Interception: true}
	for _, r := range probe.All() {
		check := checkResult{Name: r.Name, OK: r.OK, Optional: r.Optional, Needs: r.Needs, Found: r.Found, Missing: r.Missing}
		if !r.OK {
			check.Consequence = r.Consequence
			found.Interception = found.Interception && r.Optional
		}
		found.Checks = append(found.Checks, check)
	}
	found.Kernel = examineKernel(places)
	return found
}

// print writes what was found for people: what is wrong is in capitals, the verdict at the end of what it is about.
func (d *diagnosis) print(out io.Writer) error {
	missing, width := 0, 0
	for _, c := range d.Checks {
		width = max(width, len(c.Name))
	}
	for _, c := range d.Checks {
		verdict := "ok"
		switch {
		case !c.OK && c.Optional:
			verdict = "absent"
		case !c.OK:
			verdict = "MISSING"
			missing++
		}
		fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("%-8s%-*s  %s", verdict, width, c.Name, c.remark()), " "))
		if !c.OK {
			fmt.Fprintf(out, "          %s\n          without it: %s\n", c.Missing, c.Consequence)
		}
	}
	if missing > 0 {
		fmt.Fprintf(out, "\nInterception does not work here: %d of the above are missing. `weir -c FILE` still works as an ordinary proxy.\n", missing)
	} else {
		fmt.Fprint(out, "\nInterception works here.\n")
	}
	if err := d.Kernel.print(out); err != nil || d.Daemon == nil {
		return err
	}
	return d.Daemon.print(out)
}

func (c checkResult) remark() string {
	needs := ""
	if c.Needs != "" {
		needs = "Linux " + c.Needs
	}
	return strings.Trim(needs+"; "+c.Found, "; ")
}
