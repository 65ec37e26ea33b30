package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/cmd/weirctl/internal/demo"
)

const demoHelp = `usage: weirctl demo

Shows weir at work, in about 10 seconds: an application of an online shop, which is plain curl, calls
http://inventory.shop/, an address that exists nowhere. The kernel hands its connections to a weir, which a control plane
configures over xDS, and which speaks TLS to two versions of the inventory service. One request is followed through; a
canary sends 10% of 300 requests to v2; then the control plane moves everything to v2 while a long download through v1
goes on undisturbed. At last curl sends a file and gets it back four times: past weir (offload), through it, and through it
with payload going past TCP (acceleration).

Each step prints what happened and checks it. Exits 0 when all was as it should be, 1 otherwise, with the end of weir's log.

It needs root, and curl. It happens in a network and a mount namespace of its own, in a cgroup and a temporary directory,
which are removed at the end, also after Ctrl-C. Nothing of the host is changed. NO_COLOR=1 switches colours off.
`

func runDemo(ctx context.Context, args []string, std stdio) int {
	streams := demo.Streams{Out: std.out, Err: std.err}
	var err error
	switch {
	case len(args) == 0:
		err = demo.Run(ctx, streams)
	case args[0] == demo.Inside:
		err = demo.RunInside(ctx, args[1:], streams)
	case args[0] == "--help" || args[0] == "-h":
		fmt.Fprint(std.out, demoHelp)
		return exitOK
	default:
		return misuse(std, "demo", fmt.Errorf("unexpected argument %q", args[0]), demoHelp)
	}
	switch {
	case err == nil:
		return exitOK
	case !errors.Is(err, demo.ErrReported):
		fmt.Fprintf(std.err, "weirctl demo: %v\n", err)
	}
	return exitError
}
