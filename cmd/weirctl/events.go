package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/weir-proxy/weir/pkg/agent/decisions"
)

const eventsHelp = `usage: weirctl events [OPTIONS]

Prints the kernel's decisions about TCP connections that captured processes make (tcp out), about their datagrams (udp out) and
about connections that come in to them (tcp in), as the running weir is told of them, one a line, until Ctrl-C: when, what becomes
of it, which process and container, where it wants to go and why, for which listener or service, and at which endpoint. On a
terminal each is shortened to the terminal's width; a file or a pipe gets everything. Nothing is told while nobody looks. Of more
than one value for an option any has to match, of different options all.

Of datagrams each connect() is told of, and of a socket that is not connected the first one to each destination, and one that meets
with another verdict. Of what comes in, the process is the one that listens; where nobody listens who is captured, and of weir's
own connections to applications, nothing is told but with --reason not_captured, own. "weirctl explain" tells more of one decision.

  --admin ADDR      admin interface of the daemon: HOST:PORT or unix:PATH (default: 127.0.0.1:9901)
  -c FILE           take the address of the admin interface from this bootstrap configuration
  --direction D     only outbound or inbound; this and the next seven may be repeated or have commas
  --protocol P      only tcp or udp
  --verdict V       only pass, redirect, refuse or offload
  --reason R        only decisions for this reason, such as captured, no_rule or other_netns
  --pid N           only those of this process; of what comes in, the one that listens
  --container NAME  only those of this container: its name, the first digits of its id, or a glob
  --cgroup PATH     only those of processes in this cgroup or below it; globs as in the configuration
  --dst DST         only those about IP, IP/BITS, IP:PORT or :PORT
  --sample SHARE    only so many, drawn at random: above 0 and at most 1; of datagrams, so many exchanges
  --each-datagram   of datagrams every one, and not just the first
  -n, --limit N     end after so many, those that were recorded included
  --past            begin with those that were recorded (the events of weir.interception in the configuration)
  --no-follow       with --past, end after those that were recorded
  --json            print JSON, one object a line
`

// eventsArguments are the command line of events.
type eventsArguments struct {
	admin, config string
	// params are the daemon's.
	params url.Values
}

func runEvents(ctx context.Context, args []string, std stdio) int {
	a, err := parseEvents(args)
	if err != nil {
		if errors.Is(err, errHelp) {
			fmt.Fprint(std.out, eventsHelp)
			return exitOK
		}
		return misuse(std, "events", err, eventsHelp)
	}
	out, terminal := std.out.(*os.File)
	if terminal = terminal && a.params.Get("format") == "text" && isTerminal(out); terminal {
		a.params.Set("format", "json")
	}
	answer, err := openAdmin(ctx, a.admin, a.config, "/weir/events?"+a.params.Encode())
	if err == nil {
		if terminal {
			err = showEvents(out, answer)
		} else {
			_, err = io.Copy(std.out, answer)
		}
		err = errors.Join(err, answer.Close())
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(std.err, "weirctl events: %v\n", err)
		return exitError
	}
	return exitOK
}

// showEvents prints lines of JSON as text, each in one line of the terminal, which may get another width meanwhile.
func showEvents(out *os.File, answer io.Reader) error {
	s := &screen{out: out}
	for lines := json.NewDecoder(answer); ; {
		var e struct {
			decisions.Event
			Lost uint64
		}
		if err := lines.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		s.measure()
		text := e.TextWithin(s.width)
		if e.Lost > 0 {
			text = decisions.LostText(e.Lost)
		}
		if _, err := fmt.Fprintln(out, text); err != nil {
			return fmt.Errorf("write to terminal: %w", err)
		}
	}
}

// parseEvents reads the command line. Values may follow their option after a space or after "=".
func parseEvents(args []string) (*eventsArguments, error) {
	a := &eventsArguments{params: url.Values{"format": {"text"}}}
	err := parseOptions(args, optionSet{
		help: eventsHelp, flags: []string{"--past", "--no-follow", "--json", "--each-datagram"},
		values: []string{
			"--admin", "-c", "--config-path", "-n", "--limit", "--direction", "--protocol", "--verdict", "--reason", "--pid", "--container", "--cgroup", "--dst", "--sample",
		},
		flag: a.flag, option: a.option,
	})
	if err != nil {
		return nil, err
	}
	if a.admin != "" && a.config != "" {
		return nil, errors.New("--admin and -c both say where the admin interface is; give one")
	}
	if a.params.Has("no_follow") && !a.params.Has("past") {
		return nil, errors.New("--no-follow ends after what was recorded, which --past prints; give both")
	}
	return a, nil
}

func (a *eventsArguments) flag(name string) {
	switch name {
	case "--past":
		a.params.Set("past", "true")
	case "--no-follow":
		a.params.Set("no_follow", "true")
	case "--each-datagram":
		a.params.Set("each_datagram", "true")
	case "--json":
		a.params.Set("format", "json")
	}
}

func (a *eventsArguments) option(name, value string) error {
	switch name {
	case "--admin":
		a.admin = value
	case "-c", "--config-path":
		a.config = value
	case "-n", "--limit":
		a.params.Set("limit", value)
	default:
		a.params.Add(name[2:], value)
	}
	return nil
}
