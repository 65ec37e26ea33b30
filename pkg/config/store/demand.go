package store

import (
	"context"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// demand is the clusters that requests and connections asked for (ODCDS). Guarded by Store.mu.
type demand struct {
	asks asks
	// sources are where the clusters came from that are there, or are being asked for.
	sources map[string]*model.Source
}

// FetchCluster asks a source for a cluster by name, and waits until it is in force or known not to come. The error is that
// of ctx. A cluster that came stays until the source removes it.
func (s *Store) FetchCluster(ctx context.Context, src *model.Source, name string) error {
	s.mu.Lock()
	if s.opt.Sources == nil || s.clusters.published.Get(name) != nil {
		s.mu.Unlock()
		return nil
	}
	name = strings.Clone(name) // it is kept, and may be a part of a request: the header that names the cluster
	begin := func() {
		if s.demand.sources[name] == nil {
			s.demand.sources[name] = src
			s.opt.Sources.Subscribe(src, xds.ClusterType, name)
		}
	}
	abandon := func() {
		if s.clusters.latest(name) == nil { // one that warms will be of use to those who come later
			s.leaveCluster(name)
		}
	}
	return s.join(ctx, s.demand.asks, name, begin, abandon)
}

// leaveCluster ends the subscription to a cluster that was asked for by name.
func (s *Store) leaveCluster(name string) {
	if src := s.demand.sources[name]; src != nil {
		delete(s.demand.sources, name)
		s.opt.Sources.Unsubscribe(src, xds.ClusterType, name)
	}
}

// moveCluster tells those who wait for a cluster that it is there.
func (s *Store) moveCluster(_, now *model.Cluster) {
	if now != nil {
		s.answered(s.demand.asks, now.Name)
	}
}

// followedClusters are the dynamic clusters that CDS delivers all of.
func (s *Store) followedClusters() []string {
	return slices.DeleteFunc(s.clusters.dynamicNames(), func(name string) bool { return s.demand.sources[name] != nil })
}

// answerDemand tells those who wait for clusters that the response says are not there, or that cannot be used.
func (b *batch) answerDemand() {
	s := b.store
	for _, name := range b.update.Removed {
		s.noCluster(name)
	}
	for _, r := range b.update.Resources {
		if s.demand.asks[r.Name] != nil && s.clusters.latest(r.Name) == nil {
			s.noCluster(r.Name)
		}
	}
}

// noCluster tells those who wait for a cluster that it will not come.
func (s *Store) noCluster(name string) {
	s.answered(s.demand.asks, name)
	if s.clusters.latest(name) == nil {
		s.leaveCluster(name)
	}
}
