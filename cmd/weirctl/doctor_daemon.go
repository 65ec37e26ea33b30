package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// daemonState is what a daemon says of the network namespaces of captured processes.
type daemonState struct {
	Active         bool     `json:"active"`
	Error          string   `json:"error,omitempty"`
	CaptureSockets []string `json:"capture_sockets,omitempty"`
	// Cookie is that of weir's own network namespace.
	Cookie       uint64            `json:"netns_cookie,omitempty"`
	Namespaces   []servedNamespace `json:"namespaces,omitempty"`
	Inbound      *inboundState     `json:"inbound,omitempty"`
	UDP          *datagramState    `json:"udp,omitempty"`
	Privileges   *ownPrivileges    `json:"privileges,omitempty"`
	LifeCycle    *ownLifeCycle     `json:"life_cycle,omitempty"`
	Acceleration *acceleration     `json:"acceleration,omitempty"`
}

// datagramState is what a daemon says of datagrams, when something happens to them or was to.
type datagramState struct {
	Active     bool   `json:"active"`
	Error      string `json:"error,omitempty"`
	FailClosed bool   `json:"fail_closed"`
	Cgroups    []struct {
		Name string `json:"name"`
	} `json:"cgroups"`
	CaptureSockets []struct {
		Cookie uint64   `json:"netns_cookie"`
		IPv4   uint16   `json:"ipv4_port"`
		IPv6   []uint16 `json:"ipv6_ports"`
	} `json:"capture_sockets"`
	Rules []struct {
		Action string `json:"action"`
	} `json:"rules"`
}

// ownPrivileges are what the daemon may do.
type ownPrivileges struct {
	Error           string   `json:"error,omitempty"`
	Capabilities    []string `json:"capabilities"`
	Bounding        []string `json:"bounding"`
	NoNewPrivileges bool     `json:"no_new_privs"`
}

func (p *ownPrivileges) print(out io.Writer) error {
	fmt.Fprint(out, "\nThe daemon's privileges:\n")
	if p.Error != "" {
		_, err := fmt.Fprintln(out, "  not known:", p.Error)
		return err
	}
	list := func(names []string) string { return cmp.Or(strings.Join(names, " "), "none") }
	fmt.Fprintln(out, "  has", list(p.Capabilities))
	if p.NoNewPrivileges {
		_, err := fmt.Fprintln(out, "  and can come by no others (no_new_privs)")
		return err
	}
	_, err := fmt.Fprintln(out, "  could come by", list(p.Bounding))
	return err
}

// servedNamespace is one of them that the daemon serves, or, with an error, does not.
type servedNamespace struct {
	Name           string   `json:"name"`
	Cookie         uint64   `json:"netns_cookie,omitempty"`
	Process        int      `json:"process,omitempty"`
	Cgroup         string   `json:"cgroup,omitempty"`
	Path           string   `json:"path,omitempty"`
	CaptureSockets []string `json:"capture_sockets"`
	Error          string   `json:"error,omitempty"`
}

// examineDaemon asks a daemon which network namespaces of captured processes it serves, and why it does not serve the others.
func examineDaemon(ctx context.Context, admin, config string) (*daemonState, error) {
	page, err := askAdmin(ctx, admin, config, "/weir/interception")
	if err != nil {
		return nil, err
	}
	state := new(daemonState)
	if err := json.Unmarshal([]byte(page), state); err != nil {
		return nil, fmt.Errorf("read weir's answer: %w", err)
	}
	return state, nil
}

// ownLifeCycle is what outlives the daemon.
type ownLifeCycle struct {
	Persistence string `json:"persistence"`
	Error       string `json:"error,omitempty"`
	LostPins    uint64 `json:"lost_pins,omitempty"`
}

// print says nothing where all is as it was asked for.
func (l *ownLifeCycle) print(out io.Writer) {
	if l == nil || l.Error == "" && l.LostPins == 0 {
		return
	}
	fmt.Fprintf(out, "\nWhat outlives the daemon (life_cycle.persistence: %s):\n", l.Persistence)
	if l.Error != "" {
		fmt.Fprintf(out, "MISSING  nothing: connections go past weir when it ends, whatever the fail policy is\n         %s\n", strings.ReplaceAll(l.Error, "\n", "; "))
	}
	if l.LostPins > 0 {
		fmt.Fprintf(out, "ok       somebody else has removed %d of its pins while it ran; they were made anew\n", l.LostPins)
	}
}

func (d *daemonState) print(out io.Writer) error {
	if d.Privileges != nil {
		if err := d.Privileges.print(out); err != nil {
			return err
		}
	}
	d.LifeCycle.print(out)
	if d.Acceleration != nil {
		if err := d.Acceleration.print(out); err != nil {
			return err
		}
	}
	if !d.Active {
		_, err := fmt.Fprintln(out, "\nThe daemon does not intercept:", cmp.Or(d.Error, "its configuration captures no connections"))
		if err != nil || d.UDP == nil {
			return err
		}
		return d.UDP.print(out, d.namespace)
	}
	fmt.Fprint(out, "\nNetwork namespaces of captured processes:\n")
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "ok\tweir's own\t%s\n", strings.Join(d.CaptureSockets, " "))
	for _, n := range d.Namespaces {
		verdict := map[bool]string{true: "MISSING", false: "ok"}[len(n.CaptureSockets) == 0]
		who := cmp.Or(n.Path, fmt.Sprintf("process %d in %s", n.Process, n.Cgroup))
		fmt.Fprintf(w, "%s\t%s\t%s\n\t  %s\n", verdict, n.Name, strings.Join(n.CaptureSockets, " "), who)
		if n.Error != "" {
			fmt.Fprintf(w, "\t  %s\n", strings.ReplaceAll(n.Error, "\n", "; "))
		}
	}
	if err := cmp.Or(w.Flush(), d.Inbound.print(out, d.namespace)); err != nil || d.UDP == nil {
		return err
	}
	return d.UDP.print(out, d.namespace)
}

// namespace is the name of a network namespace that the daemon serves.
func (d *daemonState) namespace(cookie uint64) string {
	if cookie == d.Cookie {
		return "weir's own"
	}
	for _, n := range d.Namespaces {
		if n.Cookie == cookie {
			return n.Name
		}
	}
	return fmt.Sprintf("cookie %d", cookie)
}

// print gives the names of namespaces by name.
func (d *datagramState) print(out io.Writer, name func(cookie uint64) string) error {
	fmt.Fprint(out, "\nDatagrams of captured processes:\n")
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	if d.Error != "" {
		fmt.Fprintf(w, "MISSING\t%s\n", strings.ReplaceAll(d.Error, "\n", "; "))
	}
	if d.Active {
		names := make([]string, 0, len(d.Cgroups))
		for _, c := range d.Cgroups {
			names = append(names, c.Name)
		}
		actions := map[string]int{}
		for _, r := range d.Rules {
			actions[r.Action]++
		}
		fmt.Fprintf(w, "ok\trules: %d to redirect, %d to refuse, %d to pass\n", actions["redirect"], actions["refuse"], actions["pass"])
		fmt.Fprintf(w, "ok\tprograms attached to %s\n", cmp.Or(strings.Join(names, " "), "no cgroup: there is nothing to do at present"))
		for _, s := range d.CaptureSockets {
			verdict := map[bool]string{true: "MISSING", false: "ok"}[s.IPv4 == 0 && len(s.IPv6) == 0]
			fmt.Fprintf(w, "%s\tcapture sockets in %s: port %d for IPv4, %d for IPv6\n", verdict, name(s.Cookie), s.IPv4, len(s.IPv6))
		}
	}
	return w.Flush()
}
