// Weir is the transparent proxy's daemon. Its flags are Envoy's (v1.32).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/agent/version"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := options.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "weir: %v\n\nweir --help lists the flags.\n", err)
		return 1
	}
	switch {
	case o.Help:
		options.Usage(stdout)
		return 0
	case o.Version:
		fmt.Fprint(stdout, version.Line("weir"))
		return 0
	case o.HotRestartVersion:
		fmt.Fprintln(stdout, agent.HandoverVersion(o))
		return 0
	case o.Mode == options.Validate:
		return validate(o, stdout, stderr)
	}
	if err := agent.Run(ctx, o); err != nil {
		report(stderr, o, err)
		return 1
	}
	return 0
}

// validate checks the configuration and starts nothing.
func validate(o *options.Options, stdout, stderr io.Writer) int {
	c, err := agent.Configure(o)
	if err != nil {
		report(stderr, o, err)
		return 1
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", w)
	}
	fmt.Fprintf(stdout, "configuration '%s' OK\n", o.ConfigPath)
	return 0
}

// report lists every error on a line of its own.
func report(stderr io.Writer, o *options.Options, err error) {
	lines := agent.ErrorLines(err)
	for _, line := range lines {
		fmt.Fprintln(stderr, line)
	}
	var start *agent.StartError
	if len(lines) > 1 && !errors.As(err, &start) {
		fmt.Fprintf(stderr, "weir: configuration '%s' is not usable: %d errors\n", o.ConfigPath, len(lines))
	}
}
