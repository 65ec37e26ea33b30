package main

import "github.com/weir-proxy/weir/tools/bench/deltaxds"

// serve starts a control plane with the resources of fleets.
func serve(fleets ...fleet) (*deltaxds.Server, error) {
	resources := deltaxds.Resources{clusterType: {}, endpointType: {}, listenerType: {}}
	for _, f := range fleets {
		for i := range f.services {
			resources[clusterType][f.name(i)] = pack(f.cluster(i))
			resources[endpointType][f.name(i)] = pack(f.assignment(i, 0))
			resources[listenerType][f.name(i)] = pack(f.listener(i))
		}
	}
	s, err := deltaxds.Start(resources)
	if err == nil {
		s.Open()
	}
	return s, err
}
