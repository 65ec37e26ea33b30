package view

import (
	"github.com/weir-proxy/weir/pkg/agent/acceleration"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
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
	if out.Reasons, err = reasonsOf(i, intercept.ReasonNotTCP); err != nil {
		out.Error = err.Error()
	}
	return out
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
	out.Cgroups = cgroupsOf(s.Cgroups)
	if s.Plan != nil {
		out.Disabled, out.FailClosed = s.Plan.Disabled, s.Plan.FailClosed
		out.Rules, out.Excludes = rules(s.Plan.Rules), rules(s.Plan.Excludes)
	}
}
