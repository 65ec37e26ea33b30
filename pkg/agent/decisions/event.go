package decisions

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/owners"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
)

// walkInterval is how long an unknown cgroup is not looked for again: those of commands come and go.
const walkInterval = time.Second

// Event is a decision in words.
type Event struct {
	Time    time.Time `json:"time"`
	Verdict string    `json:"verdict"`
	Reason  string    `json:"reason"`
	// PID, UID and Command are those of the process that called connect(); Command is empty when it has ended and the kernel did not
	// tell its name.
	PID     uint32 `json:"pid"`
	UID     uint32 `json:"uid"`
	Command string `json:"command,omitempty"`
	// Cgroup is its cgroup by its name below the root, Container what runs there; both are empty when the cgroup has gone.
	Cgroup    string `json:"cgroup,omitempty"`
	Container string `json:"container,omitempty"`
	// Namespace is the network namespace, empty for weir's own.
	Namespace   string `json:"namespace,omitempty"`
	Destination string `json:"destination"`
	// Listener that the rule was made for, and Service that it offloads to.
	Listener string `json:"listener,omitempty"`
	Service  string `json:"service,omitempty"`
	// Endpoint is where an offloaded connection was sent.
	Endpoint string `json:"endpoint,omitempty"`
	// Cookie is the socket's SO_COOKIE.
	Cookie uint64 `json:"cookie"`

	kernel *intercept.Event
}

// Text is the event in one line.
func (e *Event) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s/%d", e.Time.Format("15:04:05.000000"), cmp.Or(e.Command, "-"), e.PID)
	if e.Container != "" {
		b.WriteString(" " + e.Container)
	}
	if e.Namespace != "" {
		b.WriteString(" (" + e.Namespace + ")")
	}
	fmt.Fprintf(&b, " > %s %s: %s", e.Destination, e.Verdict, e.Reason)
	for _, part := range []struct{ name, value string }{{"listener", e.Listener}, {"service", e.Service}, {"endpoint", e.Endpoint}} {
		if part.value != "" {
			b.WriteString(", " + part.name + " " + part.value)
		}
	}
	return b.String()
}

// Describer finds the words. Its lock guards what it remembers.
type Describer struct {
	hierarchy *cgroup.Hierarchy // nil when there is none
	namespace func(cookie uint64) string

	mu sync.Mutex
	// names are cgroups by their ids, which are never used again; walked is when they were looked for.
	names  map[uint64]string
	walked time.Time
}

// NewDescriber describes cgroups of a hierarchy, which may be nil. namespace gives the name of a network namespace by its cookie,
// "" for weir's own.
func NewDescriber(h *cgroup.Hierarchy, namespace func(cookie uint64) string) *Describer {
	return &Describer{hierarchy: h, namespace: namespace}
}

func (d *Describer) event(k *intercept.Event) *Event {
	e := &Event{
		Time: k.At, Verdict: k.Action.String(), Reason: k.Reason.String(), PID: k.PID, UID: k.UID, Command: k.Command, Cookie: k.Cookie,
		Cgroup: d.cgroup(k.Cgroup), Namespace: d.namespace(k.Netns), Destination: k.Dst.String(), Listener: k.Listener, Service: k.Service, kernel: k,
	}
	if e.Cgroup != "" {
		e.Container = owners.Container(e.Cgroup)
	}
	if e.Command == "" {
		if text, err := os.ReadFile("/proc/" + strconv.Itoa(int(k.PID)) + "/comm"); err == nil { // else it has ended
			e.Command = string(bytes.TrimSpace(text))
		}
	}
	if k.Action == intercept.ActionOffload {
		e.Endpoint = k.Target.String()
	}
	return e
}

// cgroup is the name of one by its id. When it is unknown the hierarchy is walked, at most once in walkInterval.
func (d *Describer) cgroup(id uint64) string {
	if d.hierarchy == nil {
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
