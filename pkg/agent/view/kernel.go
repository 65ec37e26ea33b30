package view

import (
	"strings"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

type programInfo struct {
	Name string `json:"name"`
	ID   uint32 `json:"id"`
	// Weir is true for programs of a weir: this one's, or another one's of this host.
	Weir bool `json:"weir"`
}

// programOf shows what runs at a hook. Each object of weir's programs knows its own ones; those of the others are told by their names.
func programOf(p program.AtHook) programInfo {
	return programInfo{p.Name, p.ID, p.Weir || strings.HasPrefix(p.Name, "weir_")}
}

type cgroupInfo struct {
	Name  string     `json:"name"`
	Dir   string     `json:"dir"`
	ID    uint64     `json:"id"`
	Hooks []hookInfo `json:"hooks"`
}

type hookInfo struct {
	Hook   string `json:"hook"`
	LinkID uint32 `json:"link_id"`
	// Programs in the order in which they run.
	Programs []programInfo `json:"programs"`
}

// cgroupsOf shows what runs for captured cgroups.
func cgroupsOf(list []attach.CgroupStatus) []cgroupInfo {
	out := make([]cgroupInfo, 0, len(list))
	for _, c := range list {
		info := cgroupInfo{Name: c.Name, Dir: c.Dir, ID: c.ID, Hooks: []hookInfo{}}
		for _, h := range c.Hooks {
			hook := hookInfo{Hook: h.Hook, LinkID: h.LinkID, Programs: []programInfo{}}
			for _, p := range h.Programs {
				hook.Programs = append(hook.Programs, programOf(p))
			}
			info.Hooks = append(info.Hooks, hook)
		}
		out = append(out, info)
	}
	return out
}

type ruleInfo struct {
	Prefix string `json:"prefix"`
	// Port 0 is any.
	Port     uint16 `json:"port"`
	Action   string `json:"action"`
	Listener string `json:"listener,omitempty"`
	Service  string `json:"service,omitempty"`
	// Kept says what keeps the rule's connections in user space.
	Kept   string `json:"kept,omitempty"`
	Origin string `json:"origin"`
}

func rules(list []steer.Rule) []ruleInfo {
	out := make([]ruleInfo, 0, len(list))
	for _, r := range list {
		out = append(out, ruleInfo{r.Prefix.String(), r.Port, r.Action.String(), r.Listener, r.Service, r.Kept, r.Origin})
	}
	return out
}

type reasonCounts struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
	Text   string `json:"text"`
}

// reason is why programs of one kind decide as they do.
type reason interface {
	program.Reason
	// Text is for people.
	Text() string
}

// counting is a part of the kernel half that counts its decisions by reason.
type counting interface {
	Counters() (map[string]uint64, error)
}

// reasonsOf shows how often each reason was given, in their order beginning with first.
func reasonsOf[R reason](k counting, first R) ([]reasonCounts, error) {
	out := []reasonCounts{}
	counters, err := k.Counters()
	for r := first; err == nil; r++ {
		count, known := counters[r.String()]
		if !known {
			break
		}
		out = append(out, reasonCounts{r.String(), count, r.Text()})
	}
	return out, err
}
