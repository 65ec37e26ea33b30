package httprouter

import (
	"strings"
	"sync"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
)

// maxAltNames bounds the names that requests can bring with x-envoy-upstream-alt-stat-name. Further ones count together.
const maxAltNames = 1000

// altOverflow is the name that they count under.
const altOverflow = "_overflow"

// altStats are the second trees of response statistics that requests ask for, below their cluster.
type altStats struct {
	mu     sync.RWMutex
	byName map[altKey]*metrics.Responses
	scopes []*stats.Scope
	closed bool
}

// altKey is a tree. A cluster that changes can have other statistics under the same name.
type altKey struct {
	cluster *metrics.Cluster
	name    string
}

func (a *altStats) of(c filter.Cluster, name string) *metrics.Responses {
	key := altKey{c.Stats(), name}
	a.mu.RLock()
	r := a.byName[key]
	a.mu.RUnlock()
	if r != nil {
		return r
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.byName) >= maxAltNames {
		key.name = altOverflow
	}
	if r = a.byName[key]; r != nil {
		return r
	}
	if a.byName == nil {
		a.byName = make(map[altKey]*metrics.Responses)
	}
	key.name = strings.Clone(key.name) // a header's value does not outlive its stream
	sc := key.cluster.Scope().Scope(stats.Sanitize(key.name))
	r = metrics.NewResponses(sc)
	a.byName[key] = r
	if a.closed {
		sc.Close()
	} else {
		a.scopes = append(a.scopes, sc)
	}
	return r
}

// close gives the statistics up.
func (a *altStats) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, sc := range a.scopes {
		sc.Close()
	}
	a.scopes = nil
}
