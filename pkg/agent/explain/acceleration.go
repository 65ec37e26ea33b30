package explain

import (
	"fmt"
	"slices"
	"strings"
)

// Acceleration is what of it is in force.
type Acceleration struct {
	// Off says why nothing is; empty when something is.
	Off string
	// Sent are the cgroups of applications whose payload goes past TCP to weir, Received those that weir's goes past TCP to.
	Sent, Received []Cgroup
	// After is the number of reads and writes after which a connection is accelerated.
	After int
}

// Cgroup is one by its name and its directory.
type Cgroup struct{ Name, Dir string }

// acceleration tells whether the payload of a captured connection goes past TCP between the application and weir.
func (w *walk) acceleration(s *Step) {
	if w.opt.Acceleration == nil {
		return
	}
	a, asked := w.opt.Acceleration()
	if !asked {
		return
	}
	s.detail("acceleration", "%s", a.tell(w.caller))
}

func (a *Acceleration) tell(c *Caller) string {
	if a.Off != "" {
		return "none: " + a.Off
	}
	after := fmt.Sprintf("after %d reads and writes of weir's, ", a.After)
	if c == nil || c.Dir == "" {
		text := after + "what processes in " + names(a.Sent) + " send goes past TCP"
		if len(a.Received) > 0 {
			text += "; what they are sent does in " + names(a.Received)
		}
		return text
	}
	within := func(list []Cgroup) bool { return slices.ContainsFunc(list, func(g Cgroup) bool { return c.in(g.Dir) }) }
	switch {
	case within(a.Received):
		return after + "past TCP both ways"
	case within(a.Sent):
		return after + "what the caller sends goes past TCP"
	}
	return "none: the caller's cgroup " + c.Cgroup + " is not in " + names(a.Sent)
}

func names(list []Cgroup) string {
	var all []string
	for _, g := range list {
		all = append(all, g.Name)
	}
	if len(all) == 0 {
		return "no cgroup"
	}
	return strings.Join(all, ", ")
}
