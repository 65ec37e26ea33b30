package agent

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
)

// built is a service with what counting its connections needs: who the endpoints are, and the clusters that ignore the health of
// all of their hosts, since too few are available.
type built struct {
	steer.Service
	hosts  map[steer.Endpoint]*upstream.HostStats
	panics map[string]bool
}

// build makes the service that stands in for the TCP proxy of spec. The error says why the kernel could not do as the proxy does.
func (s *services) build(spec *steer.Spec) (*built, error) {
	admission, kept := steer.AdmissionOf(spec.Chain)
	if kept != "" {
		return nil, errors.New(kept)
	}
	out := &built{panics: make(map[string]bool), Service: steer.Service{
		Name: spec.Name, MaxConnections: math.MaxUint32, ConnectionLimit: admission.ConnectionLimit(), Policy: admission.Policy, OwnNamespace: spec.OwnNamespace,
	}}
	var choices []lb.Choice
	of := make(map[*upstream.Host]*cluster.Cluster)
	for _, w := range spec.Proxy.Clusters {
		c := s.clusters().Get(w.Name)
		if c == nil {
			return nil, fmt.Errorf("cluster %s is not there", w.Name)
		}
		if out.Cluster == "" {
			out.Cluster, out.Select = w.Name, selectOf(c.Config().LB)
		}
		if len(spec.Proxy.Clusters) == 1 {
			out.MaxConnections = c.MaxConnections()
		}
		choice := lb.Choice{Outline: c.Outline(), Weight: float64(w.Weight)}
		choices = append(choices, choice)
		out.panics[w.Name] = choice.Outline.Panics()
		for h := range choice.Outline.Hosts() {
			of[h] = c
		}
	}
	if spec.Proxy.HashSourceIP && out.Select == steer.Random && s.clusters().Get(out.Cluster).WantsHash() {
		out.Select = steer.Maglev
		table, err := maglev(&choices[0].Outline)
		if err != nil {
			return nil, fmt.Errorf("cluster %s: %w", out.Cluster, err)
		}
		return out, out.place(&table, of)
	}
	table, err := lb.Flatten(choices, max(1024, 8*len(of)))
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", out.Cluster, err)
	}
	return out, out.place(&table, of)
}

// place makes endpoints of the hosts of a table, which are of clusters.
func (s *built) place(table *lb.Table, of map[*upstream.Host]*cluster.Cluster) error {
	s.hosts = make(map[steer.Endpoint]*upstream.HostStats, len(table.Hosts))
	at := make(map[steer.Endpoint]uint32, len(table.Hosts))
	places := make([]uint32, len(table.Hosts))
	for i, h := range table.Hosts {
		c := of[h]
		if why := c.Direct(h); why != "" {
			return fmt.Errorf("cluster %s: endpoint %s %s", c.Config().Name, h.Name(), why)
		}
		e := steer.Endpoint{Addr: netip.AddrPortFrom(h.Address.Addr().Unmap(), h.Address.Port()), Cluster: c.Config().Name}
		place, known := at[e]
		if !known {
			place = uint32(len(s.Endpoints))
			at[e], s.hosts[e] = place, h.Stats
			s.Endpoints = append(s.Endpoints, e)
		}
		places[i] = place
	}
	s.Table = placed(table.Slots, places, len(s.Endpoints))
	return nil
}

// maglev is the table that hashes are looked up in. Where there are several, which one it is depends on the hash, too.
func maglev(o *lb.Outline) (lb.Table, error) {
	switch {
	case len(o.Parts) == 0 || len(o.Parts) == 1 && len(o.Parts[0].Groups) == 0:
		return lb.Table{}, nil
	case len(o.Parts) > 1:
		return lb.Table{}, errors.New("its priorities share the load, which a hash_policy needs user space for")
	}
	g := &o.Parts[0].Groups[0]
	at := make(map[*upstream.Host]uint32, len(g.Hosts))
	for i, h := range g.Hosts {
		at[h] = uint32(i)
	}
	t := lb.Table{Hosts: g.Hosts, Slots: make([]uint32, len(g.Slots))}
	for i, h := range g.Slots {
		t.Slots[i] = at[h]
	}
	return t, nil
}

// placed turns slots that are positions among hosts into such among endpoints, of which two hosts may be one.
func placed(slots, places []uint32, endpoints int) []uint32 {
	if slots == nil {
		if len(places) == endpoints {
			return nil
		}
		return places
	}
	out := make([]uint32, len(slots))
	for i, s := range slots {
		out[i] = places[s]
	}
	return out
}

// selectOf is how the kernel does what a balancer does. Without a hash policy, consistent balancers draw at random.
func selectOf(policy model.LBPolicy) steer.Select {
	switch policy {
	case model.LBRandom, model.LBRingHash, model.LBMaglev:
		return steer.Random
	case model.LBLeastRequest:
		return steer.LeastConnections
	}
	return steer.RoundRobin
}
