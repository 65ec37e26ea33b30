package faults

import (
	"fmt"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/test/harness"
)

// Addresses of the rig: one that is proxied with weir and reached without it, and one that the kernel answers.
const (
	real      = "10.99.0.2:80"
	offloaded = "10.99.0.4:80"
)

// rig is a host with a captured application, and neighbours that weir has nothing to do with: a process in another cgroup, and another
// network namespace.
type rig struct {
	t            *testing.T
	host, remote *harness.Host
	group, other *harness.Cgroup
	fs, conf     string
	// interception are the fields of weir.interception.v1.Interception.
	interception string
	// under is a command that weir is run by; see harness.WeirOptions.
	under []string
}

func newRig(t *testing.T, persistence, policy string) *rig {
	t.Helper()
	return newRigWith(t, persistence, policy, func(*harness.Host) (listeners, clusters []string) { return nil, nil })
}

// newRigWith is newRig with more listeners and clusters.
func newRigWith(t *testing.T, persistence, policy string, more func(*harness.Host) (listeners, clusters []string)) *rig {
	t.Helper()
	harness.NeedInterception(t)
	host := harness.NewHost(t).AddAddress("10.99.0.2", "10.99.0.3")
	remote := harness.NewHost(t).AddAddress("10.99.0.2")
	proxied := host.TCPBackend("127.0.0.1:0", harness.Greets("weir"))
	kernel := host.TCPBackend("10.99.0.3:0", harness.Greets("kernel"))
	host.TCPBackend(real, harness.Greets("direct"))
	remote.TCPBackend(real, harness.Greets("direct"))
	listener := func(name, addr, cluster string) string {
		return harness.Listener{Name: name, Address: addr, Virtual: true, Chains: []string{harness.Chain(harness.TCP(cluster))}}.YAML()
	}
	r := &rig{
		t: t, host: host, remote: remote, fs: kerneltest.BPFFS(t),
		group: harness.NewCgroup(t), other: harness.NewCgroup(t),
	}
	listeners, clusters := more(host)
	r.conf = harness.Bootstrap{
		Listeners: append(listeners, listener("real", real, "proxied"), listener("offloaded", offloaded, "kernel")),
		Clusters:  append(clusters, harness.Cluster("proxied", harness.To(proxied.Addr)), harness.Cluster("kernel", harness.To(kernel.Addr))),
	}.YAML()
	r.interception = fmt.Sprintf("life_cycle: {persistence: %s, bpf_fs: %q}, fail_policy: %s, offload: {exclude_listeners: [real]}",
		persistence, r.fs, policy)
	return r
}

// start starts a weir; one that is not awaited may be killed before it serves.
func (r *rig) start(await bool) *harness.Weir {
	r.t.Helper()
	return r.host.StartWeir(harness.WeirOptions{
		Config: r.conf, Capture: []*harness.Cgroup{r.group}, Interception: r.interception, Under: r.under, NotReady: !await, Flags: []string{"--base-id", "77"},
	})
}

// startBare starts a weir, under a command, with these fields of weir.interception.v1.Interception alone.
func (r *rig) startBare(fields string, under []string, await bool) *harness.Weir {
	r.t.Helper()
	conf := r.conf + `bootstrap_extensions: [{name: weir.interception, typed_config: {"@type": ` +
		"type.googleapis.com/weir.interception.v1.Interception, " + fields + "}}]\n"
	return r.host.StartWeir(harness.WeirOptions{
		Config: conf, Bare: true, Under: under, NotReady: !await, Flags: []string{"--use-dynamic-base-id"},
	})
}

// startNext starts a weir that takes over from the one that runs.
func (r *rig) startNext(epoch int) *harness.Weir {
	r.t.Helper()
	return r.host.StartWeir(harness.WeirOptions{
		Config: r.conf, Capture: []*harness.Cgroup{r.group}, Interception: r.interception, Under: r.under,
		Flags: []string{"--base-id", "77", "--restart-epoch", fmt.Sprint(epoch), "--parent-shutdown-time-s", "1"},
	})
}
