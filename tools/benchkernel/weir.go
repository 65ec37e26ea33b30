package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/lifecycle/notify"
	"github.com/weir-proxy/weir/tools/bench/measure"
)

// readyLimit is how long weir may take to be ready, with the largest fleet.
const readyLimit = 60 * time.Second

// daemon is a weir under measurement.
type daemon struct {
	*child
	rig *rig
}

// settings are what a weir of a scenario is configured with.
type settings struct {
	// group is whose processes are captured; interception are further fields of weir.interception.v1.Interception.
	group, interception string
	// listeners and clusters are items of static_resources in YAML.
	listeners, clusters []string
	// xds is the port of a control plane, 0 for none.
	xds int
}

// start starts a weir and waits until it serves.
func (b *bench) start(ctx context.Context, s settings) (*daemon, error) {
	b.weirs++
	path := filepath.Join(b.dir, fmt.Sprintf("weir-%d", b.weirs))
	if err := os.WriteFile(path+".yaml", []byte(s.bootstrap()), 0o644); err != nil {
		return nil, fmt.Errorf("write bootstrap: %w", err)
	}
	told, err := notify.Listen(path + ".notify")
	if err != nil {
		return nil, err
	}
	defer told.Close()
	c, err := b.rig.spawn(program{
		name: "weir", command: b.weir, env: []string{notify.Environment + "=" + path + ".notify"},
		args: []string{"-c", path + ".yaml", "-l", "warning", "--drain-time-s", "1", "--base-id", fmt.Sprint(os.Getpid()%10_000*100 + b.weirs)},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := told.Wait(ctx, notify.Ready); err != nil {
		err = fmt.Errorf("wait for weir: %w\n%s", err, c.said())
		b.rig.stop(c)
		return nil, err
	}
	return &daemon{child: c, rig: b.rig}, nil
}

// Weir has come to rest when it has taken so little CPU for so long: right after its start it looks around the host.
const (
	restFor = 300 * time.Millisecond
	restCPU = 3 * time.Millisecond
)

// rest waits until weir has nothing to do.
func (d *daemon) rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for {
		times, err := spent([]*child{d.child}, func() error { return pause(ctx, restFor) })
		if err != nil {
			return fmt.Errorf("wait for weir to come to rest: %w", err)
		}
		if times[0] <= restCPU {
			return nil
		}
	}
}

// stop ends weir and waits for that.
func (d *daemon) stop() { d.rig.stop(d.child) }

// spent is the CPU time of each of the processes while work is done.
func spent(processes []*child, work func() error) ([]time.Duration, error) {
	times := make([]time.Duration, len(processes))
	for i, c := range processes {
		before, err := measure.CPU(c.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		times[i] = -before
	}
	if err := work(); err != nil {
		return nil, err
	}
	for i, c := range processes {
		after, err := measure.CPU(c.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		times[i] += after
	}
	return times, nil
}

// mapMemory is what the kernel accounts for the BPF maps of weir, in bytes. Ring buffers and the like are in it.
func (d *daemon) mapMemory() (int, error) {
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", d.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("list descriptors: %w", err)
	}
	seen := map[string]int{}
	for _, info := range infos {
		text, err := os.ReadFile(info)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has been closed
		}
		if err != nil {
			return 0, fmt.Errorf("read what a descriptor is: %w", err)
		}
		id, bytes := "", 0
		for line := range strings.Lines(string(text)) {
			switch key, value, _ := strings.Cut(line, ":"); key {
			case "map_id":
				id = value
			case "memlock":
				if _, err := fmt.Sscan(value, &bytes); err != nil {
					return 0, fmt.Errorf("read the memory of a map: %w", err)
				}
			}
		}
		if id != "" {
			seen[id] = bytes
		}
	}
	sum := 0
	for _, bytes := range seen {
		sum += bytes
	}
	return sum, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func (s settings) bootstrap() string {
	fields := fmt.Sprintf("cgroups: [%s], required: true", s.group)
	if s.interception != "" {
		fields += ", " + s.interception
	}
	clusters, dynamic := s.clusters, ""
	if s.xds != 0 {
		clusters = append(clusters, fmt.Sprintf(`{name: xds, type: STATIC, connect_timeout: 1s, typed_extension_protocol_options: {
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, %s}`,
			endpointsAt("xds", s.xds)))
		dynamic = `dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  cds_config: {ads: {}, resource_api_version: V3}
  lds_config: {ads: {}, resource_api_version: V3}
`
	}
	return fmt.Sprintf(`node: {id: bench, cluster: bench}
bootstrap_extensions:
- {name: weir.interception, typed_config: {"@type": type.googleapis.com/weir.interception.v1.Interception, %s}}
%sstatic_resources:
  listeners: [%s]
  clusters: [%s]
`, fields, dynamic, strings.Join(s.listeners, ",\n    "), strings.Join(clusters, ",\n    "))
}

func endpointsAt(cluster string, port int) string {
	return fmt.Sprintf("load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}",
		cluster, port)
}

// preconnected are the fields of a cluster that has a second connection for each one in use.
const preconnected = "preconnect_policy: {per_upstream_preconnect_ratio: 2}"

// staticCluster is a cluster of one endpoint on loopback, with further fields.
func staticCluster(name string, port int, fields ...string) string {
	fields = append([]string{endpointsAt(name, port)}, fields...)
	return fmt.Sprintf("{name: %s, type: STATIC, connect_timeout: 5s, %s}", name, strings.Join(fields, ", "))
}

// virtual is a listener that is not bound, for what applications connect to at addr.
func virtual(name, addr string, port int, filter string) string {
	return fmt.Sprintf("{name: %s, address: {socket_address: {address: %s, port_value: %d}}, bind_to_port: false, filter_chains: [{filters: [%s]}]}",
		name, addr, port, filter)
}

// tcpTo is the filter that hands connections to a cluster.
func tcpTo(cluster string) string {
	return fmt.Sprintf(`{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: %s}}`, cluster)
}

// httpTo is the filter that hands requests to a cluster.
func httpTo(cluster string) string {
	return fmt.Sprintf(`{name: http, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    stat_prefix: http, route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: %s}}]}]},
    http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}`, cluster)
}
