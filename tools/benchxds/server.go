package main

import "github.com/weir-proxy/weir/tools/bench/deltaxds"

// startServer starts the control plane of a fleet.
func startServer(f fleet) (*deltaxds.Server, error) {
	resources := deltaxds.Resources{clusterType: {}, endpointType: {}, listenerType: {}, routeType: {}}
	for i := range f.clusters() {
		resources[clusterType][clusterName(i)] = pack(f.cluster(i, 0))
		resources[endpointType][clusterName(i)] = pack(f.assignment(i, 0))
	}
	if f.large {
		resources[clusterType][clusterName(largeCluster)] = pack(f.cluster(largeCluster, 0))
		resources[endpointType][clusterName(largeCluster)] = pack(f.largeAssignment(0))
	}
	for i := range f.listeners() {
		l := f.listener(i)
		resources[listenerType][l.Name] = pack(l)
		resources[routeType][routesName(i)] = pack(f.routeConfig(i, 0))
	}
	return deltaxds.Start(resources)
}
