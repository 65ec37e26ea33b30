package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
)

// inboundState is what a daemon says of connections that come to captured processes, when something happens to them or was to.
type inboundState struct {
	Error      string             `json:"error,omitempty"`
	Cgroups    []string           `json:"cgroups"`
	Namespaces []inboundNamespace `json:"namespaces"`
	Rules      []struct {
		Listener string `json:"listener,omitempty"`
	} `json:"rules"`
}

type inboundNamespace struct {
	Cookie uint64 `json:"netns_cookie"`
	// Places are where captured processes listen.
	Places []struct {
		Address string `json:"address"`
		// Foreign are sockets of processes that are not captured: with those nothing is captured there.
		Foreign int `json:"foreign_sockets"`
	} `json:"places"`
}

// print says nothing of a daemon that has nothing to do with what comes in. name gives the names of namespaces by their cookies.
func (i *inboundState) print(out io.Writer, name func(cookie uint64) string) error {
	if i == nil || i.Error == "" && len(i.Rules) == 0 {
		return nil
	}
	fmt.Fprint(out, "\nConnections that come to captured processes:\n")
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	if i.Error != "" {
		fmt.Fprintf(w, "MISSING\t%s\n", strings.ReplaceAll(i.Error, "\n", "; "))
		return w.Flush()
	}
	var listeners []string
	for _, r := range i.Rules {
		listeners = append(listeners, r.Listener)
	}
	slices.Sort(listeners)
	fmt.Fprintf(w, "ok\tcaptured for %s\n", cmp.Or(strings.Join(slices.Compact(listeners), " "), "no listener"))
	var cgroups []string
	for _, dir := range i.Cgroups {
		cgroups = append(cgroups, path.Base(dir))
	}
	fmt.Fprintf(w, "ok\tlistening sockets are looked for in %s\n", cmp.Or(strings.Join(cgroups, " "), "no cgroup: none is there at present"))
	for _, n := range i.Namespaces {
		n.print(w, name(n.Cookie))
	}
	return w.Flush()
}

func (n *inboundNamespace) print(w io.Writer, name string) {
	var captured []string
	for _, p := range n.Places {
		if p.Foreign == 0 {
			captured = append(captured, p.Address)
			continue
		}
		fmt.Fprintf(w, "left\t%s: %s, where others listen, too\n", name, p.Address)
	}
	if len(captured) > 0 {
		fmt.Fprintf(w, "ok\t%s: %s\n", name, strings.Join(captured, " "))
	}
}
