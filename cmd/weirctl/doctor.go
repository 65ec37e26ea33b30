package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/weir-proxy/weir/pkg/kernel/probe"
)

const doctorHelp = `usage: weirctl doctor

Looks at this host and this process's privileges, and says what of weir works here, what is missing and what that means.
Exits 1 when interception is impossible. Everything else of weir works without any of it.
`

func runDoctor(_ context.Context, args []string, std stdio) int {
	if len(args) > 0 {
		if args[0] == "--help" || args[0] == "-h" {
			fmt.Fprint(std.out, doctorHelp)
			return exitOK
		}
		return misuse(std, "doctor", fmt.Errorf("unexpected argument %q", args[0]), doctorHelp)
	}
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
