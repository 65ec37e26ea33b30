// Weirctl is weir's tool for people: it runs programs intercepted, explains decisions, checks configurations and hosts,
// and serves configuration over xDS. One file per verb.
package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/weir-proxy/weir/pkg/config/extension"
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
		if len(args) == 1 {
			usage(std.out)
			return exitOK
		}
		args = []string{args[1], "--help"}
	}
	for _, v := range verbs() {
		if v.name == args[0] {
			return v.run(ctx, args[1:], std)
		}
	}
	names := func(yield func(string) bool) {
		for _, v := range verbs() {
			if !yield(v.name) {
				return
			}
		}
	}
	fmt.Fprintf(std.err, "weirctl: unknown command %q%s\n\n", args[0], didYouMean(args[0], names))
	usage(std.err)
	return exitUsage
}

// misuse tells of a wrong command line, with no more of the help than leaves the error in sight.
func misuse(std stdio, command string, err error, help string) int {
	synopsis, _, _ := strings.Cut(help, "\n\n")
	fmt.Fprintf(std.err, "weirctl %s: %v\n\n%s\n\n`weirctl %[1]s --help` tells more.\n", command, err, strings.TrimRight(synopsis, "\n"))
	return exitUsage
}

// unknownOption is the error for an option that is not one of those in a help text, with the nearest of them.
func unknownOption(name, help string) error {
	return fmt.Errorf("unknown option %s%s", name, didYouMean(name, slices.Values(optionPattern().FindAllString(help, -1))))
}

func optionPattern() *regexp.Regexp { return regexp.MustCompile(`--[a-z][a-z-]+`) }

func didYouMean(name string, known iter.Seq[string]) string {
	near := extension.Nearest(name, known)
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", near)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "weirctl works with weir, the transparent proxy.\n\nusage: weirctl COMMAND [ARGUMENTS]\n\n")
	width := 0
	for _, v := range verbs() {
		width = max(width, len(v.name+" "+v.args))
	}
	for _, v := range verbs() {
		fmt.Fprintf(w, "  %-*s  %s\n", width, v.name+" "+v.args, v.summary)
	}
	fmt.Fprint(w, "\n`weirctl help COMMAND` tells more of each.\n")
}
