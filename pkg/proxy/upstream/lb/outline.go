package lb

import (
	"iter"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// Outline is what Pick does, written out for who picks in another place: a Part is drawn by its load, then one of its
// groups comes up in proportion to its weight, and the policy chooses a host in there.
type Outline struct {
	Policy model.LBPolicy
	// Parts with a load; their loads sum up to 100. Empty without hosts.
	Parts []Part
}

// Part is hosts of one priority that are equally available.
type Part struct {
	// Load is the share of the traffic in percent, above 0.
	Load uint32
	// Panics tells that health is ignored here.
	Panics bool
	// Groups are the localities where their weights count, otherwise all hosts as one. Empty when whoever comes here is not
	// served: nobody is available.
	Groups []Group
}

// Group is hosts that the policy chooses from.
type Group struct {
	// Weight in proportion to the other groups of the part, above 0.
	Weight float64
	// Hosts of which there is at least one, and the shares that the policy gives them: above 0, in proportion to one
	// another, in the order of Hosts. With slow start they are those of hosts that are past it.
	Hosts  []*upstream.Host
	Shares []float64
	// Slots is the table of a Maglev balancer, which a hash is looked up in by its remainder; nil with other policies.
	Slots []*upstream.Host
}

// Hosts yields the hosts, each at least once.
func (o *Outline) Hosts() iter.Seq[*upstream.Host] {
	return func(yield func(*upstream.Host) bool) {
		for _, p := range o.Parts {
			for _, g := range p.Groups {
				for _, h := range g.Hosts {
					if !yield(h) {
						return
					}
				}
			}
		}
	}
}

// Panics tells that health is ignored wherever there is somebody.
func (o *Outline) Panics() bool {
	return len(o.Parts) > 0 && !slices.ContainsFunc(o.Parts, func(p Part) bool { return !p.Panics })
}

// Outline tells what Pick does with requests that avoid nothing.
func (s *Set) Outline() Outline {
	out := Outline{Policy: s.opt.Policy}
	for i, l := range s.loads {
		p := &s.priorities[i]
		switch {
		case l.healthy+l.degraded == 0:
		case s.hashed:
			out.Parts = append(out.Parts, Part{Load: l.healthy + l.degraded, Panics: l.panics, Groups: hashedGroup(p.hasher)})
		case l.panics && s.opt.FailOnPanic:
			out.Parts = append(out.Parts, Part{Load: l.healthy + l.degraded, Panics: true})
		case l.panics:
			out.Parts = append(out.Parts, Part{Load: l.healthy + l.degraded, Panics: true, Groups: p.all.outline()})
		default:
			out.add(l.healthy, &p.healthy)
			out.add(l.degraded, &p.degraded)
		}
	}
	return out
}

func (o *Outline) add(load uint32, g *group) {
	if load > 0 {
		o.Parts = append(o.Parts, Part{Load: load, Groups: g.outline()})
	}
}

func (g *group) outline() []Group {
	if g.localities == nil {
		if g.picker == nil {
			return nil
		}
		return []Group{outlineOf(g.picker, 1)}
	}
	groups := make([]Group, 0, len(g.byLocality))
	for i, p := range g.byLocality {
		groups = append(groups, outlineOf(p, g.localities.weight(i)))
	}
	return groups
}

func outlineOf(p picker, weight float64) Group {
	hosts := p.members()
	shares := make([]float64, len(hosts))
	_, evenly := p.(randomPicker)
	for i, h := range hosts {
		if shares[i] = 1; !evenly {
			shares[i] = float64(max(1, h.Weight))
		}
	}
	return Group{Weight: weight, Hosts: hosts, Shares: shares}
}

// hashedGroup is the hosts of a consistent balancer with their shares of the hashes; nil without hosts.
func hashedGroup(h hasher) []Group {
	if h == nil {
		return nil
	}
	g := Group{Weight: 1, Slots: h.slots()}
	at := make(map[*upstream.Host]int)
	for host, share := range h.spans() {
		i, known := at[host]
		if !known {
			i = len(g.Hosts)
			at[host] = i
			g.Hosts, g.Shares = append(g.Hosts, host), append(g.Shares, 0)
		}
		g.Shares[i] += share
	}
	return []Group{g}
}
