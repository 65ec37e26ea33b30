package agent

import (
	"errors"
	"fmt"
	"strings"

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
}
