package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// tellForeign names the programs of others at the hooks of cgroups that have come to be captured: such a program may rewrite or
// refuse what weir decides. Each cgroup is told of once.
func (a *Agent) tellForeign() {
	k := a.capture.kernel.Load()
	if k == nil {
		return
	}
	log := a.logs.Logger("intercept")
	all, err := k.NewForeign()
	switch {
	case errors.Is(err, program.ErrHidden):
		log.Debug("look for programs of others", "error", err)
	case err != nil:
		log.Warn("look for programs of others", "error", err)
	}
	for len(all) > 0 {
		dir := all[0].Cgroup
		var names []string
		for len(all) > 0 && all[0].Cgroup == dir {
			names = append(names, fmt.Sprintf("%s (id %d) at %s", all[0].Name, all[0].ID, all[0].Hook))
			all = all[1:]
		}
		log.Info("programs of others run at the hooks that weir uses", "cgroup", dir, "programs", strings.Join(names, ", "))
	}
	a.tellShared(k, log)
}

// tellShared warns of cgroups that another weir captures as well, unless that is the one which this one relieves. Each cgroup is
// told of once.
func (a *Agent) tellShared(k *intercept.Interceptor, log *slog.Logger) {
	all, err := k.NewShared()
	if err != nil {
		log.Debug("look for other weirs", "error", err)
	}
	for _, s := range all {
		var others []string
		relieved := false
		ids := make([]uint32, 0, len(s.Weirs))
		for _, w := range s.Weirs {
			ids = append(ids, w.ID)
		}
		held := program.Holders(ids...)
		for _, w := range s.Weirs {
			pids := held[w.ID]
			switch {
			case slices.Contains(pids, os.Getpid()):
			case a.before != nil && slices.Contains(pids, a.before.PID()):
				relieved = true
			case len(pids) == 0:
				others = append(others, fmt.Sprintf("program %d, which a weir has left behind", w.ID))
			default:
				others = append(others, fmt.Sprintf("the weir with pid %d", pids[0]))
			}
		}
		if !relieved && len(others) > 0 {
			log.Warn("another weir captures the connections of the same cgroup: what the one has rewritten the other decides about anew, and getpeername() "+
				"tells applications what only one of them knows; give each its own cgroups", "cgroup", s.Cgroup, "others", strings.Join(others, ", "))
		}
	}
}
