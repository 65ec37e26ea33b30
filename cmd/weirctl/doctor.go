package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/weir-proxy/weir/pkg/kernel/probe"
)

const doctorHelp = `usage: weirctl doctor [--admin ADDR | -c FILE]

Looks at this host and this process's privileges, and says what of weir works here, what is missing and what that means.
Exits 1 when interception is impossible. Everything else of weir works without any of it.

  --admin ADDR  also say which network namespaces the daemon with this admin interface serves: HOST:PORT or unix:PATH
  -c FILE       the same, with the address of the admin interface from this bootstrap configuration
`

func runDoctor(ctx context.Context, args []string, std stdio) int {
	admin, config := "", ""
	for len(args) > 0 {
		switch {
		case args[0] == "--help" || args[0] == "-h":
			fmt.Fprint(std.out, doctorHelp)
			return exitOK
		case args[0] == "--admin" && len(args) > 1:
			admin, args = args[1], args[2:]
		case args[0] == "-c" && len(args) > 1:
			config, args = args[1], args[2:]
		default:
			return misuse(std, "doctor", fmt.Errorf("unexpected argument %q", args[0]), doctorHelp)
		}
	}
	status := examineHost(std)
	if admin != "" || config != "" {
		if err := examineDaemon(ctx, std.out, admin, config); err != nil {
			fmt.Fprintln(std.err, "weirctl doctor:", err)
			return exitError
		}
	}
	return status
}

// examineHost prints the outcome of all probes.
func examineHost(std stdio) int {
	missing := 0
	w := tabwriter.NewWriter(std.out, 0, 4, 2, ' ', 0)
	for _, r := range probe.All() {
		needs := ""
		if r.Needs != "" {
			needs = "Linux " + r.Needs
		}
		switch {
		case r.OK:
			fmt.Fprintf(w, "ok\t%s\t%s\n", r.Name, needs)
		case r.Optional:
			fmt.Fprintf(w, "absent\t%s\t%s\n\t  %s\n\t  without it: %s\n", r.Name, needs, r.Missing, r.Consequence)
		default:
			missing++
			fmt.Fprintf(w, "MISSING\t%s\t%s\n\t  %s\n\t  without it: %s\n", r.Name, needs, r.Missing, r.Consequence)
		}
	}
	if err := w.Flush(); err != nil {
		return exitError
	}
	if missing > 0 {
		fmt.Fprintf(std.out, "\nInterception does not work here: %d of the above are missing. `weir -c FILE` still works as an ordinary proxy.\n", missing)
		return exitError
	}
	fmt.Fprint(std.out, "\nInterception works here.\n")
	return exitOK
}
