package owners

import (
	"path"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// maxNames bounds how many cgroups are remembered; after as many, all are forgotten and found again.
const maxNames = 1 << 14

// Names finds cgroups by their ids for those who know nothing else of a process. It costs nothing until it is asked. It may be used
// by several goroutines at once.
type Names struct {
	find func() (*cgroup.Hierarchy, error)
	// asked is set once somebody wants names: from then on Note finds them in time.
	asked atomic.Bool

	mu sync.RWMutex
	// known are cgroups by their ids, which are never used again.
	known map[uint64]names
}

type names struct{ cgroup, container string }

// NewNames returns Names for the hierarchy that this process sees.
func NewNames() *Names { return &Names{find: sync.OnceValues(cgroup.Find)} }

// Of returns the name of a cgroup below the root of its hierarchy, and the whole id of the container that it belongs to: that in the
// last element of the name that has one. Either is "" when it is not known, as both are for a cgroup that has gone without Note.
func (n *Names) Of(id uint64) (name, container string) {
	if id == 0 {
		return "", ""
	}
	n.asked.Store(true)
	found := n.look(id)
	return found.cgroup, found.container
}

// Note remembers the name of a cgroup while it is there, once names have been asked for. Those of short jobs go before the last
// that is told of them.
func (n *Names) Note(id uint64) {
	if n.asked.Load() && id != 0 {
		n.look(id)
	}
}

func (n *Names) look(id uint64) names {
	n.mu.RLock()
	found, known := n.known[id]
	n.mu.RUnlock()
	if known {
		return found
	}
	h, err := n.find()
	if err != nil {
		return names{}
	}
	dir, err := h.ByID(id)
	if err != nil {
		return names{} // it has gone
	}
	found.cgroup = h.Name(dir)
	for at := found.cgroup; at != "/" && at != "." && found.container == ""; at = path.Dir(at) {
		found.container = ContainerID(at)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil || len(n.known) >= maxNames {
		n.known = make(map[uint64]names)
	}
	n.known[id] = found
	return found
}
