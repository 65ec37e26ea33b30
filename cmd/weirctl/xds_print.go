package main

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/controlplane"
)

// printServed says what is served where.
func printServed(w io.Writer, at []net.Listener, status *statusServer, dir string, groups map[string][]controlplane.TypeSummary) {
	for _, l := range at {
		fmt.Fprintf(w, "serving %s at %s\n", dir, l.Addr())
	}
	if status != nil {
		fmt.Fprintf(w, "status at http://%s/\n", status.listener.Addr())
	}
	empty := true
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		if len(groups) > 1 {
			name := "group " + group
			if group == "" {
				name = "everyone else"
			}
			fmt.Fprintf(w, " %s\n", name)
		}
		for _, t := range groups[group] {
			empty = false
			fmt.Fprintf(w, "  %-22s %-12s%s\n", t.Type, t.Version, bounded(t.Names))
		}
	}
	if empty {
		fmt.Fprintln(w, "  no resources yet")
	}
}

// printEvent writes one line.
func printEvent(w io.Writer, e controlplane.Event) {
	protocol, service := "state of the world", "ADS"
	if e.Delta {
		protocol = "delta"
	}
	who := fmt.Sprintf("%s node=%s peer=%s", time.Now().Format(time.TimeOnly), e.Node, e.Peer)
	if e.Type != "" {
		service = e.Type
	}
	if e.Poll {
		service, protocol = "REST", "polling"
	}
	switch e.Kind {
	case controlplane.Connected:
		fmt.Fprintf(w, "%s connected (%s, %s)\n", who, service, protocol)
	case controlplane.Disconnected:
		fmt.Fprintf(w, "%s disconnected (%s, %s)\n", who, service, protocol)
	case controlplane.Acknowledged:
		fmt.Fprintf(w, "%s ACK  %s %s%s\n", who, e.Type, e.Version, names(e))
	case controlplane.Rejected:
		fmt.Fprintf(w, "%s NACK %s %s%s: %s\n", who, e.Type, e.Version, names(e), strings.ReplaceAll(strings.TrimSpace(e.Err), "\n", "; "))
	}
}

// maxNames bounds the names in a line.
const maxNames = 8

// names lists what a response held: " [a b -gone]".
func names(e controlplane.Event) string {
	list := e.Names[:len(e.Names):len(e.Names)]
	for _, gone := range e.Removed {
		list = append(list, "-"+gone)
	}
	if len(list) == 0 {
		return " [nothing]"
	}
	return " [" + bounded(list)[1:] + "]"
}

// bounded lists names, not all when there are many, each after a space.
func bounded(list []string) string {
	if n := len(list); n > maxNames {
		list = append(list[:maxNames:maxNames], fmt.Sprintf("and %d more", n-maxNames))
	}
	return " " + strings.Join(list, " ")
}
