package view

import (
	"strings"

	"github.com/weir-proxy/weir/pkg/agent/acceleration"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/lifecycle/privilege"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// Interceptor is the kernel half of weir, an *intercept.Interceptor.
type Interceptor interface {
	Status() (intercept.Status, error)
	Counters() (map[string]uint64, error)
}

// Interception shows what the kernel captures.
type Interception struct {
	// Interceptor gives the interceptor in use, a nil interface when there is none.
	Interceptor func() Interceptor
	// Unavailable tells why there is none; it may be nil.
	Unavailable func() error
	// Offload tells which listeners the kernel stands in for; it may be nil.
	Offload func() []steer.ListenerStatus
	// Privileges tells what the process may do; it may be nil.
	Privileges func() (privilege.State, error)
	// Persistence tells what outlives the process; it may be nil, and give nil while nothing is known.
	Persistence func() *Persistence
	// Namespaces lists the network namespaces of captured processes beside weir's own; it may be nil.
	Namespaces func() []Namespace
	// Acceleration tells which payload goes past TCP; it may be nil, and give nil when none was to.
	Acceleration func() *acceleration.Status
	// Datagrams gives the kernel half for datagrams, a nil interface when nothing happens to them, and why not when something was to; it
	// may be nil.
	Datagrams func() (Datagrams, error)
	// Inbound gives the kernel half for what comes in, a nil interface when there is none, and why not when there was to be one; it
	// may be nil.
	Inbound func() (Inbound, error)
}

var _ admin.Interception = Interception{}

// Persistence is what outlives the process.
type Persistence struct {
	// Asked is life_cycle.persistence.
	Asked string `json:"persistence"`
	// Error says why that is not so: what is in the kernel ends with the process then.
	Error string `json:"error,omitempty"`
	// LostPins counts pins that somebody else has removed while weir ran, and that were made anew.
	LostPins uint64 `json:"lost_pins,omitempty"`
}

// Namespace is a network namespace that captured processes live in.
type Namespace struct {
	// Name is that of its file, else its number.
	Name  string `json:"name"`
	Inode uint64 `json:"inode"`
	// Cookie is 0 for one that could not be opened.
	Cookie uint64 `json:"netns_cookie"`
	// Process is one of those in it, Cgroup the directory of that one's cgroup; or Path is the file that it was found by.
	Process int    `json:"process,omitempty"`
	Cgroup  string `json:"cgroup,omitempty"`
	Path    string `json:"path,omitempty"`
	// CaptureSockets are weir's in it; empty when connections from it are left to the fail policy.
	CaptureSockets []string `json:"capture_sockets"`
	// Error says why it has none, or not all.
	Error string `json:"error,omitempty"`
}

// interceptionStatus is the answer of /weir/interception.
type interceptionStatus struct {
	Active         bool           `json:"active"`
	Error          string         `json:"error,omitempty"`
	Generation     uint32         `json:"generation"`
	Disabled       bool           `json:"disabled"`
	FailClosed     bool           `json:"fail_closed"`
	CaptureSockets []string       `json:"capture_sockets"`
	ProxyMark      uint32         `json:"proxy_mark"`
	ProxyCgroup    uint64         `json:"proxy_cgroup"`
	Netns          uint64         `json:"netns_cookie"`
	Programs       []programInfo  `json:"programs"`
	Namespaces     []Namespace    `json:"namespaces"`
	Cgroups        []cgroupInfo   `json:"cgroups"`
	MissingCgroups []string       `json:"missing_cgroups"`
	Listeners      []listenerInfo `json:"listeners"`
	Privileges     *privileges    `json:"privileges,omitempty"`
	LifeCycle      *Persistence   `json:"life_cycle,omitempty"`
	Rules          []ruleInfo     `json:"rules"`
	Excludes       []ruleInfo     `json:"excludes"`
	Reasons        []reasonCounts `json:"reasons"`
	// Acceleration is there when it was asked for.
	Acceleration *acceleration.Status `json:"acceleration,omitempty"`
	// UDP is there when something happens to datagrams, or was to.
	UDP *datagramStatus `json:"udp,omitempty"`
	// Inbound is about what comes to applications.
	Inbound *inboundStatus `json:"inbound,omitempty"`
}

// privileges are what the process may do.
type privileges struct {
	Error string `json:"error,omitempty"`
	// Capabilities that it has, and Bounding those that a program which it executes could come by.
	Capabilities    []string `json:"capabilities"`
	Bounding        []string `json:"bounding"`
	NoNewPrivileges bool     `json:"no_new_privs"`
}

func privilegesOf(s privilege.State, err error) *privileges {
	out := &privileges{Capabilities: s.Permitted.Names(), Bounding: s.Bounding.Names(), NoNewPrivileges: s.NoNewPrivileges}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

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

type reasonCounts struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
	Text   string `json:"text"`
}

// InterceptionStatus implements admin.Interception.
func (v Interception) InterceptionStatus() any {
	// Empty lists are printed as such.
	out := &interceptionStatus{
		CaptureSockets: []string{}, Programs: []programInfo{}, Namespaces: []Namespace{}, Cgroups: []cgroupInfo{}, MissingCgroups: []string{},
		Listeners: []listenerInfo{}, Rules: []ruleInfo{}, Excludes: []ruleInfo{}, Reasons: []reasonCounts{},
	}
	if v.Acceleration != nil {
		out.Acceleration = v.Acceleration()
	}
	out.UDP = v.datagrams()
	if v.Inbound != nil {
		out.Inbound = inboundOf(v.Inbound())
	}
	if v.Persistence != nil {
		out.LifeCycle = v.Persistence()
	}
	if v.Privileges != nil {
		out.Privileges = privilegesOf(v.Privileges())
	}
	i := v.Interceptor()
	if i == nil {
		if v.Unavailable != nil {
			if err := v.Unavailable(); err != nil {
				out.Error = err.Error()
			}
		}
		return out
	}
	status, err := i.Status()
	if err != nil {
		out.Error = err.Error()
		return out
	}
	if v.Namespaces != nil {
		out.Namespaces = v.Namespaces()
	}
	out.fill(&status)
	if v.Offload != nil {
		out.Listeners = listeners(v.Offload())
	}
	counters, err := i.Counters()
	if err != nil {
		out.Error = err.Error()
		return out
	}
	for r := intercept.ReasonNotTCP; ; r++ {
		count, known := counters[r.String()]
		if !known {
			return out
		}
		out.Reasons = append(out.Reasons, reasonCounts{r.String(), count, r.Text()})
	}
}

func (out *interceptionStatus) fill(s *intercept.Status) {
	out.Active, out.Generation, out.ProxyMark = true, s.Generation, s.ProxyMark
	out.ProxyCgroup, out.Netns = s.ProxyCgroup, s.Netns
	out.MissingCgroups = append(out.MissingCgroups, s.MissingCgroups...)
	sockets := make(map[uint64][]string)
	for _, c := range s.Capture {
		for _, a := range c.Addrs {
			sockets[c.Netns] = append(sockets[c.Netns], a.String())
		}
	}
	out.CaptureSockets = append(out.CaptureSockets, sockets[s.Netns]...)
	for i := range out.Namespaces {
		n := &out.Namespaces[i]
		n.CaptureSockets = append([]string{}, sockets[n.Cookie]...)
	}
	for _, p := range s.Programs {
		out.Programs = append(out.Programs, programInfo{p.Name, p.ID, true})
	}
	for _, c := range s.Cgroups {
		info := cgroupInfo{Name: c.Name, Dir: c.Dir, ID: c.ID, Hooks: []hookInfo{}}
		for _, h := range c.Hooks {
			hook := hookInfo{Hook: h.Hook, LinkID: h.LinkID, Programs: []programInfo{}}
			for _, p := range h.Programs {
				hook.Programs = append(hook.Programs, programOf(p))
			}
			info.Hooks = append(info.Hooks, hook)
		}
		out.Cgroups = append(out.Cgroups, info)
	}
	if s.Plan != nil {
		out.Disabled, out.FailClosed = s.Plan.Disabled, s.Plan.FailClosed
		out.Rules, out.Excludes = rules(s.Plan.Rules), rules(s.Plan.Excludes)
	}
}

func rules(list []steer.Rule) []ruleInfo {
	out := make([]ruleInfo, 0, len(list))
	for _, r := range list {
		out = append(out, ruleInfo{r.Prefix.String(), r.Port, r.Action.String(), r.Listener, r.Service, r.Kept, r.Origin})
	}
	return out
}
