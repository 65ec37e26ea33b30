package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/probe"
)

const doctorHelp = `usage: weirctl doctor [--verbose] [--json] [--bpf-fs DIR] [--admin ADDR | -c FILE]

Looks at this host and this process's privileges, and says what of weir works here, what is missing and what that means; what
weirs have pinned, and who owns it; which cgroups are captured, and programs of others at the same hooks. Asks the running weir,
where there is one, which network namespaces it serves and what else it has in force.
Exits 1 when interception is impossible. Everything else of weir works without any of it.

  -v, --verbose  also name the checks that passed, with what was found
  --json         print all of it as JSON
  --bpf-fs DIR   the BPF file system, where life_cycle.bpf_fs names one (default: /sys/fs/bpf and /run/weir/bpf)
  --admin ADDR   admin interface of the daemon: HOST:PORT or unix:PATH (default: 127.0.0.1:9901, if a weir is there)
  -c FILE        take the address of the admin interface from this bootstrap configuration
`

// doctorTimeout bounds the daemon's answer.
const doctorTimeout = 10 * time.Second

// doctorArguments are the command line of doctor.
type doctorArguments struct {
	admin, config string
	// places are where pins are looked for.
	places        []string
	json, verbose bool
}

func runDoctor(ctx context.Context, args []string, std stdio) int {
	a, err := parseDoctor(args)
	if err != nil {
		if errors.Is(err, errHelp) {
			fmt.Fprint(std.out, doctorHelp)
			return exitOK
		}
		return misuse(std, "doctor", err, doctorHelp)
	}
	found := examineHost(a.places)
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	found.Daemon, err = examineDaemon(ctx, a.admin, a.config)
	if err != nil && a.admin == "" && a.config == "" && !errors.As(err, new(*silentError)) { // nobody said that there is one
		found.DaemonProblem, _, _ = strings.Cut(err.Error(), "\n")
		err = nil
	}
	if a.json {
		e := json.NewEncoder(std.out)
		e.SetIndent("", "  ")
		err = cmp.Or(err, e.Encode(found))
	} else {
		err = cmp.Or(found.print(std.out, a.verbose), err)
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

func parseDoctor(args []string) (*doctorArguments, error) {
	a := &doctorArguments{places: pin.Places("")}
	for len(args) > 0 {
		switch {
		case args[0] == "--help" || args[0] == "-h":
			return nil, errHelp
		case args[0] == "--json":
			a.json, args = true, args[1:]
		case args[0] == "--verbose" || args[0] == "-v":
			a.verbose, args = true, args[1:]
		case args[0] == "--bpf-fs" && len(args) > 1:
			a.places, args = pin.Places(args[1]), args[2:]
		case args[0] == "--admin" && len(args) > 1:
			a.admin, args = args[1], args[2:]
		case args[0] == "-c" && len(args) > 1:
			a.config, args = args[1], args[2:]
		default:
			return nil, fmt.Errorf("unexpected argument %q", args[0])
		}
	}
	return a, nil
}

// diagnosis is all that the doctor has found.
type diagnosis struct {
	// Interception is true when nothing that it needs is missing.
	Interception bool          `json:"interception"`
	Checks       []checkResult `json:"checks"`
	Kernel       kernelState   `json:"kernel"`
	Daemon       *daemonState  `json:"daemon,omitempty"`
	// DaemonProblem is why the daemon at the default address was not asked; mostly there is none.
	DaemonProblem string `json:"daemon_problem,omitempty"`
}

// checkResult is the outcome of a probe.
type checkResult struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Optional bool   `json:"optional"`
	// Unknown is true where a privilege is missing that it takes to find out.
	Unknown bool `json:"unknown,omitempty"`
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
		check := checkResult{Name: r.Name, OK: r.OK, Optional: r.Optional, Unknown: r.Unknown, Needs: r.Needs, Found: r.Found, Missing: r.Missing}
		if !r.OK {
			check.Consequence = r.Consequence
			found.Interception = found.Interception && (r.Optional || r.Unknown)
		}
		found.Checks = append(found.Checks, check)
	}
	found.Kernel = examineKernel(places)
	return found
}

// print writes what was found for people: what is wrong is in capitals, the verdict at the end of what it is about. Checks that
// passed are only counted, unless verbose.
func (d *diagnosis) print(out io.Writer, verbose bool) error {
	missing := d.printChecks(out, verbose)
	switch {
	case missing == 1:
		fmt.Fprint(out, "\nInterception does not work here: what is MISSING above is needed. `weir -c FILE` still works as an ordinary proxy.\n")
	case missing > 1:
		fmt.Fprintf(out, "\nInterception does not work here: %d of the above are missing. `weir -c FILE` still works as an ordinary proxy.\n", missing)
	default:
		fmt.Fprint(out, "\nInterception works here.\n")
	}
	if err := d.Kernel.print(out); err != nil {
		return err
	}
	if d.DaemonProblem != "" {
		_, err := fmt.Fprintf(out, "\nNo running weir was asked; --admin or -c says where one is: %s\n", d.DaemonProblem)
		return err
	}
	if d.Daemon == nil {
		return nil
	}
	return d.Daemon.print(out)
}

// printChecks tells how many checks have found something missing that interception needs.
func (d *diagnosis) printChecks(out io.Writer, verbose bool) (missing int) {
	shown := slices.Clone(d.Checks)
	if !verbose {
		shown = slices.DeleteFunc(shown, func(c checkResult) bool { return c.OK || c.Unknown })
	}
	passed, unknown := len(d.Checks)-len(shown), 0
	if !verbose {
		for _, c := range d.Checks {
			if c.Unknown {
				unknown++
			}
		}
	}
	switch passed -= unknown; {
	case passed == 1:
		fmt.Fprintln(out, "1 check passed (--verbose names it)")
	case passed > 1:
		fmt.Fprintf(out, "%d checks passed (--verbose names them)\n", passed)
	}
	width := 0
	for _, c := range shown {
		width = max(width, len(c.Name))
	}
	for _, c := range shown {
		verdict := "ok"
		switch {
		case c.Unknown:
			verdict = "unknown"
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
	if unknown > 0 {
		fmt.Fprintf(out, "unknown %d of the kernel's features, which it does not tell of without these capabilities (--verbose names them)\n", unknown)
	}
	return missing
}

func (c checkResult) remark() string {
	needs := ""
	if c.Needs != "" {
		needs = "Linux " + c.Needs
	}
	return strings.Trim(needs+"; "+c.Found, "; ")
}
