package decisions

import (
	"bytes"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/owners"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/events"
)

// walkInterval is how long an unknown cgroup is not looked for again: those of commands come and go.
const walkInterval = time.Second

// Directions of events.
const (
	directionOut = "outbound"
	directionIn  = "inbound"
)

// Event is a decision in words.
type Event struct {
	Time time.Time `json:"time"`
	// Direction is "outbound" for what a process of this host begins, "inbound" for what comes in to one. Protocol is "tcp", "udp" or
	// "other".
	Direction string `json:"direction"`
	Protocol  string `json:"protocol"`
	Verdict   string `json:"verdict"`
	Reason    string `json:"reason"`
	// PID, UID and Command are those of the process that called connect() or sendmsg(); Command is empty when it has ended and the kernel
	// did not tell its name. Where something comes in they are those of the process that listens, zero when it is not known.
	PID     uint32 `json:"pid"`
	UID     uint32 `json:"uid"`
	Command string `json:"command,omitempty"`
	// Cgroup is its cgroup by its name below the root, Container what runs there; both are empty when the cgroup has gone.
	Cgroup    string `json:"cgroup,omitempty"`
	Container string `json:"container,omitempty"`
	// Namespace is the network namespace, empty for weir's own.
	Namespace string `json:"namespace,omitempty"`
	// Source is the client of what comes in; before connect() has ended a client has no address.
	Source      string `json:"source,omitempty"`
	Destination string `json:"destination"`
	// Listener that the rule was made for, and Service that it offloads to.
	Listener string `json:"listener,omitempty"`
	Service  string `json:"service,omitempty"`
	// Endpoint is where an offloaded connection was sent.
	Endpoint string `json:"endpoint,omitempty"`
	// Again tells that it is about another datagram of an exchange that has been told of.
	Again bool `json:"again,omitempty"`
	// Cookie is the client socket's SO_COOKIE, 0 where something comes in.
	Cookie uint64 `json:"cookie"`

	kernel *events.Event
}

// Server is who listens at an address; the zero value when it is not known.
type Server struct {
	PID, UID uint32
	Command  string
	// Cgroup is its cgroup's id.
	Cgroup uint64
}

// Describer finds the words. Its lock guards what it remembers.
type Describer struct {
	hierarchy *cgroup.Hierarchy // nil when there is none
	namespace func(cookie uint64) string
	server    func(netns uint64, at netip.AddrPort) Server

	mu sync.Mutex
	// names are cgroups by their ids, which are never used again; walked is when they were looked for.
	names  map[uint64]string
	walked time.Time
}

// NewDescriber describes cgroups of a hierarchy, which may be nil. namespace gives the name of a network namespace by its cookie,
// "" for weir's own; server who listens in one. They are called by the goroutine that reads decisions.
func NewDescriber(h *cgroup.Hierarchy, namespace func(cookie uint64) string, server func(netns uint64, at netip.AddrPort) Server) *Describer {
	return &Describer{hierarchy: h, namespace: namespace, server: server}
}

func (d *Describer) event(k *events.Event) *Event {
	e := &Event{
		Time: k.At, Direction: directionOut, Protocol: protocolName(k.Protocol), Verdict: k.Verdict.String(), Reason: k.Reason,
		PID: k.PID, UID: k.UID, Command: k.Command, Cookie: k.Cookie, Namespace: d.namespace(k.Netns), Destination: k.Dst.String(),
		Listener: k.Listener, Service: k.Service, Again: k.Again, kernel: k,
	}
	group := k.Cgroup
	if k.Inbound {
		s := d.server(k.Netns, k.Dst)
		e.Direction, e.Source = directionIn, k.Src.String()
		e.PID, e.UID, e.Command, group = s.PID, s.UID, s.Command, s.Cgroup
	}
	if e.Cgroup = d.cgroup(group); e.Cgroup != "" {
		e.Container = owners.Container(e.Cgroup)
	}
	if e.Command == "" && e.PID != 0 {
		if text, err := os.ReadFile("/proc/" + strconv.Itoa(int(e.PID)) + "/comm"); err == nil { // else it has ended
			e.Command = string(bytes.TrimSpace(text))
		}
	}
	if k.Verdict == events.Offload {
		e.Endpoint = k.Target.String()
	}
	return e
}

// protocolName is what events and filters call a protocol.
func protocolName(number uint8) string {
	switch number {
	case events.TCP:
		return "tcp"
	case events.UDP:
		return "udp"
	}
	return "other"
}

// cgroup is the name of one by its id. When it is unknown the hierarchy is walked, at most once in walkInterval.
func (d *Describer) cgroup(id uint64) string {
	if d.hierarchy == nil || id == 0 {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if name, known := d.names[id]; known || time.Since(d.walked) < walkInterval {
		return name
	}
	d.names, d.walked = make(map[uint64]string), time.Now()
	for _, dir := range cgroup.Subtree(d.hierarchy.Root()) {
		if id, err := cgroup.ID(dir); err == nil { // else it has vanished
			d.names[id] = d.hierarchy.Name(dir)
		}
	}
	return d.names[id]
}

// forget gives the memory back.
func (d *Describer) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names, d.walked = nil, time.Time{}
}
