// Weirctl is weir's tool for people: it runs programs intercepted, explains decisions, checks configurations and hosts,
// and serves configuration over xDS. One file per verb.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// verb is one subcommand.
type verb struct {
	name, args, summary string
	// run gets the arguments after the verb and returns the exit status.
	run func(ctx context.Context, args []string, std stdio) int
}

// stdio are the standard streams, so that tests can give others.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// Exit statuses of weirctl itself. `exec` exits with the status of its command.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, std stdio) int {
	if len(args) == 0 {
		usage(std.err)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "--help":
		usage(std.out)
		return exitOK
	}
	for _, v := range verbs() {
		if v.name == args[0] {
			return v.run(ctx, args[1:], std)
		}
	}
	fmt.Fprintf(std.err, "weirctl: unknown command %q\n\n", args[0])
	usage(std.err)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "weirctl works with weir, the transparent proxy.\n\nusage: weirctl COMMAND [ARGUMENTS]\n\n")
	for _, v := range verbs() {
		fmt.Fprintf(w, "  %-38s %s\n", v.name+" "+v.args, v.summary)
	}
	fmt.Fprint(w, "\n`weirctl COMMAND --help` tells more of each.\n")
}
