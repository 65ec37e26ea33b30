package agent

import (
	"net/netip"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/decisions"
	"github.com/weir-proxy/weir/pkg/agent/owners"
	"github.com/weir-proxy/weir/pkg/agent/view"
)

// serversInterval is how long a list of listening sockets counts. Where it has none, somebody may have begun to listen since: sockets are
// listed again as soon as that takes no more than one part in serversShare of the time.
const (
	serversInterval = time.Second
	serversShare    = 20
)

// serverFinder tells who listens at an address, for events of what comes in. It costs nothing until it is asked; then sockets are listed
// once in serversInterval, or when one is missing, and the process of each is looked for once.
type serverFinder struct {
	// list gives the listening sockets of all namespaces; own is the cookie of weir's own.
	list func() []view.NamespaceSocket
	own  func() uint64
	// owners finds processes; nil where there are no cgroups.
	owners *owners.Finder

	mu sync.Mutex
	// at is when they were listed, which took as long as cost.
	at      time.Time
	cost    time.Duration
	sockets []view.NamespaceSocket
	// known are the servers by the inodes of their sockets.
	known map[uint32]decisions.Server
}

func (f *serverFinder) find(netns uint64, at netip.AddrPort) decisions.Server {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.at) > serversInterval {
		f.refresh()
	}
	if netns == f.own() {
		netns = 0
	}
	s := view.ServerOf(f.sockets, netns, at)
	if s == nil && time.Since(f.at) > serversShare*f.cost {
		f.refresh()
		s = view.ServerOf(f.sockets, netns, at)
	}
	if s == nil {
		return decisions.Server{}
	}
	server, known := f.known[s.Inode]
	if !known {
		server = decisions.Server{UID: s.UID, Cgroup: s.Cgroup}
		if f.owners != nil {
			o := f.owners.Owners([]view.NamespaceSocket{*s})[0]
			server.PID, server.Command = uint32(o.PID), o.Command
		}
		f.known[s.Inode] = server
	}
	return server
}

// refresh lists the sockets, and forgets who had those that are gone. The caller holds mu.
func (f *serverFinder) refresh() {
	begin := time.Now()
	f.sockets = f.list()
	f.at = time.Now()
	f.cost = f.at.Sub(begin)
	known := make(map[uint32]decisions.Server, len(f.known))
	for i := range f.sockets {
		if server, ok := f.known[f.sockets[i].Inode]; ok {
			known[f.sockets[i].Inode] = server
		}
	}
	f.known = known
}
