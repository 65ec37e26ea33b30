package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const topHelp = `usage: weirctl top [OPTIONS]

Shows the connections that the running weir has and those that the kernel has made past it: which process and container, where
it wants to go, and which listener, route, cluster and endpoint it got; and sessions of UDP. The table is refreshed until q or
Ctrl-C; s sorts it differently, the space bar refreshes it at once. Columns for which the terminal has no room are left out. When
the standard output is no terminal the table is printed once.

  --admin ADDR     admin interface of the daemon: HOST:PORT or unix:PATH (default: 127.0.0.1:9901)
  -c FILE          take the address of the admin interface from this bootstrap configuration
  --once           print one table, with all columns, and exit
  --json           print the same as JSON, as /weir/connections has it, and exit
  --interval TIME  time between refreshes, as in 500ms or 5s; a number alone means seconds (default: 2s)
  --sort COLUMN    rate (default), bytes (default with --once), rtt or age

VERDICT is "captured" (through weir), "offloaded" (past weir, in the kernel), "inbound" (to an application of this host) or
"bound" (to an address of weir's), with "udp" for sessions of UDP. PAST TCP marks those that are
accelerated. SENT and RECEIVED are bytes from and to the client, K being 1024. RTT is that of the client's socket. What is not
known is "-".
`

// Bounds on the time between refreshes.
const (
	defaultInterval = 2 * time.Second
	minInterval     = 100 * time.Millisecond
	maxInterval     = time.Hour
)

// topTimeout bounds an answer, topLimit the connections in it: those with the most bytes.
const (
	topTimeout = 10 * time.Second
	topLimit   = 10_000
)

// topArguments are the command line of top.
type topArguments struct {
	admin, config string
	once, json    bool
	interval      time.Duration
	sort          string
}

func runTop(ctx context.Context, args []string, std stdio) int {
	a, err := parseTop(args)
	if err != nil {
		if errors.Is(err, errHelp) {
			fmt.Fprint(std.out, topHelp)
			return exitOK
		}
		return misuse(std, "top", err, topHelp)
	}
	if err := a.run(ctx, std); err != nil {
		fmt.Fprintf(std.err, "weirctl top: %v\n", err)
		return exitError
	}
	return exitOK
}

// parseTop reads the command line. Values may follow their option after a space or after "=".
func parseTop(args []string) (*topArguments, error) {
	a := &topArguments{interval: defaultInterval}
	err := parseOptions(args, optionSet{
		help: topHelp, flags: []string{"--once", "--json"}, values: []string{"--admin", "-c", "--config-path", "--interval", "--sort"},
		flag:   func(name string) { a.once, a.json = a.once || name == "--once", a.json || name == "--json" },
		option: a.option,
	})
	if err != nil {
		return nil, err
	}
	if a.admin != "" && a.config != "" {
		return nil, errors.New("--admin and -c both say where the admin interface is; give one")
	}
	return a, nil
}

func (a *topArguments) option(name, value string) error {
	switch name {
	case "--admin":
		a.admin = value
	case "-c", "--config-path":
		a.config = value
	case "--sort":
		if !slices.Contains(sortings(), value) {
			return fmt.Errorf("--sort %s: it is one of %s", value, strings.Join(sortings(), ", "))
		}
		a.sort = value
	case "--interval":
		if _, err := strconv.ParseFloat(value, 64); err == nil {
			value += "s"
		}
		interval, err := time.ParseDuration(value)
		if err != nil || interval < minInterval || interval > maxInterval {
			return fmt.Errorf("--interval %s: it is a time from %s to %s, such as 2s", value, minInterval, maxInterval)
		}
		a.interval = interval
	}
	return nil
}

func (a *topArguments) run(ctx context.Context, std stdio) error {
	if a.config != "" {
		var err error
		if a.admin, err = adminAddress(a.config); err != nil {
			return err
		}
	}
	if a.json {
		page, err := a.ask(ctx)
		if err == nil {
			_, err = io.WriteString(std.out, page)
		}
		return err
	}
	t := newTopTable(a.sort)
	if err := a.poll(ctx, t); err != nil {
		return err
	}
	out, isFile := std.out.(*os.File)
	if a.once || !isFile || !isTerminal(out) {
		if a.sort == "" || a.sort == sortRate {
			t.sorting = sortBytes
		}
		_, err := io.WriteString(std.out, t.render(0, 0))
		return err
	}
	screen, err := openScreen(std.in, out)
	if err != nil {
		return err
	}
	return errors.Join(a.watch(ctx, t, screen), screen.close())
}

// watch refreshes the screen until somebody has seen enough. A weir that does not answer may do so again.
func (a *topArguments) watch(ctx context.Context, t *topTable, s *screen) error {
	next := time.Now().Add(a.interval)
	for {
		if err := s.show(t.render(s.width, s.height)); err != nil {
			return err
		}
		switch s.wait(ctx, next) {
		case 'q':
			return nil
		case 's':
			t.nextSorting()
			continue
		case ' ':
			next = time.Now()
		}
		if ctx.Err() != nil {
			return nil
		}
		if now := time.Now(); !now.Before(next) {
			next = now.Add(a.interval)
			t.problem = a.poll(ctx, t)
		}
	}
}

// ask gets the connections, as JSON.
func (a *topArguments) ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, topTimeout)
	defer cancel()
	return askAdmin(ctx, a.admin, "", fmt.Sprintf("/weir/connections?limit=%d", topLimit))
}

// poll gets the connections.
func (a *topArguments) poll(ctx context.Context, t *topTable) error {
	page, err := a.ask(ctx)
	if err != nil {
		return err
	}
	var answer topAnswer
	if err := json.Unmarshal([]byte(page), &answer); err != nil {
		return fmt.Errorf("read weir's answer: %w", err)
	}
	t.take(&answer, time.Now())
	return nil
}
