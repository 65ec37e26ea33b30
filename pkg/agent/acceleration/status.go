package acceleration

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/accel"
)

// Status is what /weir/interception says of acceleration.
type Status struct {
	// Asked is acceleration.mode, Mode what is in force; Why says what keeps it from being the same.
	Asked string `json:"asked"`
	Mode  string `json:"mode"`
	Why   string `json:"why,omitempty"`
	// Cgroups are those whose sockets are taken in, Applications those that weir sends past TCP to.
	Cgroups        []string `json:"cgroups"`
	Applications   []string `json:"applications"`
	MissingCgroups []string `json:"missing_cgroups"`
	// Problem is why some cgroup or address is left out.
	Problem string           `json:"problem,omitempty"`
	Doors   []netip.AddrPort `json:"doors"`
	// Active connections are accelerated now, Accelerated ones were so far; both count each side of weir for itself.
	Active      uint64 `json:"active"`
	Accelerated uint64 `json:"accelerated"`
	// Messages and Bytes went past TCP.
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	// Fallbacks count messages of accelerated connections that went through TCP, by reason.
	Fallbacks map[string]uint64 `json:"fallbacks"`
	// Sockets of applications were taken in; NotTaken count those that were not, by reason, and NotAccelerated the connections
	// of weir's that were looked at and left as they are.
	Sockets        uint64            `json:"sockets"`
	NotTaken       map[string]uint64 `json:"not_taken"`
	NotAccelerated map[string]uint64 `json:"not_accelerated"`
}

// Status tells what is in force; nil when nothing was asked for.
func (a *Acceleration) Status() *Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cfg.Mode == model.AccelerateNothing {
		return nil
	}
	out := &Status{
		Asked: a.cfg.Mode.String(), Mode: a.verdict.mode.String(), Why: a.verdict.why,
		Cgroups: []string{}, Applications: []string{}, MissingCgroups: []string{}, Doors: []netip.AddrPort{},
	}
	var now accel.Status
	if a.kernel != nil && !a.closed {
		f := a.follower
		out.Cgroups, out.Applications = f.names(f.dirs), f.names(f.applications)
		out.MissingCgroups = append(out.MissingCgroups, f.missing...)
		out.Problem = f.problem
		out.Doors = append(out.Doors, a.opt.Doors()...)
		var err error
		if now, err = a.kernel.Status(); err != nil {
			out.Problem = err.Error()
		}
	}
	out.Active, out.Accelerated, out.Messages, out.Bytes, out.Sockets = now.Active, now.Accelerated, now.Messages, now.Bytes, now.Sockets
	out.Fallbacks, out.NotTaken = fallbacks(&now), notTaken(&now)
	if out.NotAccelerated = now.Refused; out.NotAccelerated == nil {
		out.NotAccelerated = map[string]uint64{}
	}
	return out
}

// fallbacks are sends of accelerated connections by TCP, by reason.
func fallbacks(s *accel.Status) map[string]uint64 {
	return map[string]uint64{"over_limit": s.OverLimit, "behind_tcp": s.BehindTCP}
}

// notTaken are sockets of applications that were left as they are, by reason.
func notTaken(s *accel.Status) map[string]uint64 {
	return map[string]uint64{"no_room": s.NoRoom, "early_data": s.EarlyData, "multipath": s.Multipath, "zerocopy": s.Zerocopy}
}

// Reach is whom acceleration is for.
type Reach struct {
	// Asked is false when it was not asked for. Off says why nothing is in force; empty when something is.
	Asked bool
	Off   string
	// Captured are the directories of cgroups whose sockets are taken in, Named those that weir sends past TCP to.
	Captured, Named []string
	// Name gives the name of a directory; nil with Off.
	Name func(dir string) string
	// After is the number of reads and writes after which a connection is accelerated.
	After int
}

// Reach tells it as it is now.
func (a *Acceleration) Reach() Reach {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := Reach{Asked: a.cfg.Mode != model.AccelerateNothing}
	if a.kernel == nil || a.closed || a.follower.paused {
		r.Off = cmp.Or(a.verdict.why, "weir is ending")
		return r
	}
	f := a.follower
	r.Captured, r.Named = slices.Concat(f.dirs, f.applications), slices.Clone(f.applications)
	r.Name, r.After = f.hierarchy.Name, int(cmp.Or(a.cfg.MinOperations, model.DefaultMinOperations))
	return r
}
