package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// userSpace has weir proxy what the kernel could answer by itself.
const userSpace = `offload: {mode: "OFF"}`

// pod is a container as a runtime makes it: a cgroup, a network namespace, and a process that waits in both.
type pod struct {
	*harness.Host
	group *harness.Cgroup
	app   harness.App
	addr  netip.Addr
	pause *harness.Process
}

// newPod makes a pod on a node: with a link to it when addr, the node's end, is given.
func newPod(t *testing.T, node *harness.Host, pods *harness.Cgroup, name, link string) *pod {
	t.Helper()
	p := &pod{Host: harness.NewHost(t).AddAddress("10.50.0.1", "fd00:50::1"), group: pods.Child(t, name)}
	if link != "" {
		harness.Link(node, p.Host, link)
		via := netip.MustParsePrefix(link).Addr().Next()
		p.addr = via.Next()
		p.AddRoute("10.60.0.0/16", via.String())
	}
	p.app = p.App().In(p.group)
	p.pause = p.app.Start("sleep", "1000")
	return p
}

// end ends everything in the pod.
func (p *pod) end() {
	p.pause.Signal(syscall.SIGKILL)
	p.pause.Wait()
}

// namespaceStatus is a part of /weir/interception.
type namespaceStatus struct {
	Name, Cgroup, Error string
	Inode               uint64
	Process             int
	CaptureSockets      []string `json:"capture_sockets"`
}

func servedNamespaces(weir *harness.Weir) []namespaceStatus {
	var status struct{ Namespaces []namespaceStatus }
	weir.JSON("/weir/interception", &status)
	return status.Namespaces
}

// served waits until the namespace of each pod has capture sockets, and no others have.
func served(t *testing.T, weir *harness.Weir, pods ...*pod) {
	t.Helper()
	harness.EventuallyNil(t, "the pods to be served", func() error {
		var got []string
		for _, n := range servedNamespaces(weir) {
			if len(n.CaptureSockets) == 2 && n.Error == "" {
				got = append(got, n.Cgroup)
			}
		}
		var want []string
		for _, p := range pods {
			want = append(want, p.group.Dir)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("served are %q, want %q", got, want)
		}
		return nil
	})
}

// containers is a configuration that sends 10.99.0.1:80 to an HTTP backend and everything else where it wants to go.
func containers(backend netip.AddrPort) string {
	return harness.Bootstrap{
		Listeners: []string{
			harness.Listener{
				Name: "outbound", Address: "127.0.0.1:15001", OriginalDst: true, Chains: []string{harness.Chain(harness.TCP("passthrough"))},
			}.YAML(),
			harness.Listener{
				Name: "shop", Address: "10.99.0.1:80", Virtual: true, Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "shop")))},
			}.YAML(),
		},
		Clusters: []string{harness.OriginalDstCluster("passthrough"), harness.Cluster("shop", harness.To(backend))},
	}.YAML()
}

// TestPods captures the processes of two pods, each in its own network, and leaves a third alone.
func TestPods(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.HTTPBackend("shop", "10.60.0.1:8080")
	pods := harness.NewCgroup(t)
	other := harness.NewCgroup(t)
	one := newPod(t, node, pods, "one", "192.0.2.0/30") // before weir
	weir := node.StartWeir(harness.WeirOptions{Config: containers(backend.Addr), Capture: []*harness.Cgroup{pods}, Interception: userSpace + ", fail_policy: CLOSED"})
	two := newPod(t, node, pods, "two", "192.0.2.4/30") // after it
	free := newPod(t, node, other, "free", "192.0.2.8/30")
	served(t, weir, one, two)
	for name, p := range map[string]*pod{"one": one, "two": two} {
		for range 2 {
			wantOK(t, p.app.Curl("http://10.99.0.1/"), "shop")
			if from := netip.MustParseAddrPort(backend.Last(t).RemoteAddr); from.Addr() != p.addr {
				t.Errorf("pod %s: the backend sees %s, want %s", name, from, p.addr)
			}
		}
		for _, to := range []string{"10.50.0.1:7000", "[fd00:50::1]:7000", "127.0.0.1:7000"} {
			p.TCPBackend(to, harness.Greets("pod "+name))
			got := p.app.Connect(harness.Connect{To: to, HalfClose: true})
			if want := (harness.Connected{Peer: to, Received: "pod " + name, End: "eof"}); got != want {
				t.Errorf("pod %s to itself: %+v, want %+v", name, got, want)
			}
		}
		if got := p.app.Connect(harness.Connect{To: "10.50.0.1:7000", Mapped: true, HalfClose: true}); got.Received != "pod "+name || got.Peer != "[::ffff:10.50.0.1]:7000" {
			t.Errorf("pod %s, IPv4-mapped: %+v", name, got)
		}
		wantContains(t, "pod "+name, weir.Page(fmt.Sprintf("/weir/explain?dst=10.99.0.1:80&pid=%d", p.pause.Pid())),
			"redirect to weir's capture socket 127.0.0.1:", "captured: ", "cluster shop")
		if got := p.app.Connect(harness.Connect{To: "10.50.0.1:7001"}); got.Failed == "" && got.End != "ECONNRESET" {
			t.Errorf("pod %s to a closed port: %+v", name, got)
		}
		// A process of the pod's network that is in no captured cgroup.
		if got := p.App().Connect(harness.Connect{To: "10.99.0.1:80"}); got.Failed != "ENETUNREACH" {
			t.Errorf("pod %s: who is not captured got %+v", name, got)
		}
	}
	if n := weir.Stat("cluster.passthrough.upstream_cx_total"); n < 8 {
		t.Errorf("%d connections were passed through, want those of two pods to themselves", n)
	}
	if backend.Opened() < 2 {
		t.Errorf("the backend has %d connections, want one of each pod", backend.Opened())
	}
	if got := free.app.Connect(harness.Connect{To: "10.99.0.1:80"}); got.Failed != "ENETUNREACH" {
		t.Errorf("the pod that is not captured: %+v", got)
	}
	wantContains(t, "the status", weir.Page("/weir/interception"), `"namespaces"`, one.group.Dir, two.group.Dir)
	doctor := node.App().Run(harness.Binary("weirctl"), "doctor", "--admin", harness.AdminAddr)
	wantContains(t, "the doctor", doctor.Out, "weir's own", "in "+one.group.Dir, "in "+two.group.Dir)
}

// TestPodAnew removes a pod and makes one of the same name.
func TestPodAnew(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.HTTPBackend("shop", "10.60.0.1:8080")
	pods := harness.NewCgroup(t)
	weir := node.StartWeir(harness.WeirOptions{Config: containers(backend.Addr), Capture: []*harness.Cgroup{pods}, Interception: userSpace})
	before := newPod(t, node, pods, "shop", "192.0.2.0/30")
	served(t, weir, before)
	wantOK(t, before.app.Curl("http://10.99.0.1/"), "shop")
	before.end()
	served(t, weir)
	harness.Eventually(t, "connections of the pod that is gone to be closed", func() bool { return backend.Conns() == 0 })
	after := &pod{Host: harness.NewHost(t), group: before.group, addr: netip.MustParseAddr("192.0.2.6")}
	harness.Link(node, after.Host, "192.0.2.4/30")
	after.AddRoute("10.60.0.0/16", "192.0.2.5")
	after.app = after.App().In(after.group)
	after.pause = after.app.Start("sleep", "1000")
	served(t, weir, after)
	wantOK(t, after.app.Curl("http://10.99.0.1/"), "shop")
	if from := netip.MustParseAddrPort(backend.Last(t).RemoteAddr); from.Addr() != after.addr {
		t.Errorf("the backend sees %s, want %s", from, after.addr)
	}
}

// TestPodsFromHost makes upstream connections in weir's own namespace.
func TestPodsFromHost(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.HTTPBackend("shop", "10.60.0.1:8080")
	pods := harness.NewCgroup(t)
	weir := node.StartWeir(harness.WeirOptions{
		Config: containers(backend.Addr), Capture: []*harness.Cgroup{pods}, Interception: userSpace + ", namespaces: {upstream: HOST}",
	})
	one, two := newPod(t, node, pods, "one", ""), newPod(t, node, pods, "two", "")
	served(t, weir, one, two)
	for _, p := range []*pod{one, two} { // neither has a route to the backend
		wantOK(t, p.app.Curl("http://10.99.0.1/"), "shop")
		if from := netip.MustParseAddrPort(backend.Last(t).RemoteAddr); from.Addr().String() != "10.60.0.1" {
			t.Errorf("the backend sees %s", from)
		}
	}
	if backend.Opened() != 1 {
		t.Errorf("the backend has %d connections, want the shared one", backend.Opened())
	}
}

// TestPodsComeAndGo makes and removes many pods under load. Nothing of them stays, and another pod sees nothing of it.
func TestPodsComeAndGo(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.HTTPBackend("shop", "10.60.0.1:8080")
	pods := harness.NewCgroup(t)
	weir := node.StartWeir(harness.WeirOptions{Config: containers(backend.Addr), Capture: []*harness.Cgroup{pods}, Interception: userSpace})
	steady := newPod(t, node, pods, "steady", "192.0.2.0/30")
	served(t, weir, steady)
	wantOK(t, steady.app.Curl("http://10.99.0.1/"), "shop")
	files := len(weir.Files())
	var stop atomic.Bool
	var load sync.WaitGroup
	load.Go(func() {
		for !stop.Load() {
			if r := steady.app.Curl("http://10.99.0.1/"); r.Status != 0 || strings.TrimSpace(r.Out) != "shop" {
				t.Errorf("the steady pod: %+v", r)
				return
			}
		}
	})
	const rounds, each = 10, 5
	for round := range rounds {
		var some []*pod
		for n := range each {
			some = append(some, newPod(t, node, pods, fmt.Sprintf("p%d-%d", round, n), fmt.Sprintf("192.0.%d.%d/30", 3+round, 4*n)))
		}
		var clients []*harness.Process
		for _, p := range some {
			clients = append(clients, p.app.Start("curl", "-s", "--max-time", "2", "http://10.99.0.1/"))
		}
		for n, p := range some {
			if n%2 == 0 { // the others end under way
				clients[n].Wait()
			}
			clients[n].Signal(syscall.SIGKILL)
			clients[n].Wait()
			p.end()
		}
	}
	stop.Store(true)
	load.Wait()
	served(t, weir, steady)
	harness.EventuallyNil(t, "the same descriptors as before", func() error {
		if now := weir.Files(); len(now) > files+2 { // the pools of two connections of the steady pod
			return fmt.Errorf("%d descriptors were %d:\n%s", len(now), files, strings.Join(now, " "))
		}
		return nil
	})
	harness.Eventually(t, "the connections of pods that are gone to be closed", func() bool { return backend.Conns() <= 2 })
}

// TestPodsAndRestart starts weir anew while pods run.
func TestPodsAndRestart(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.HTTPBackend("shop", "10.60.0.1:8080")
	pods := harness.NewCgroup(t)
	options := harness.WeirOptions{Config: containers(backend.Addr), Capture: []*harness.Cgroup{pods}, Interception: userSpace}
	one := newPod(t, node, pods, "one", "192.0.2.0/30")
	for _, end := range []func(*harness.Weir){(*harness.Weir).Kill, func(w *harness.Weir) { w.Stop() }} {
		weir := node.StartWeir(options)
		served(t, weir, one)
		wantOK(t, one.app.Curl("http://10.99.0.1/"), "shop")
		end(weir)
		if got := one.app.Connect(harness.Connect{To: "10.99.0.1:80"}); got.Failed != "ENETUNREACH" {
			t.Errorf("without weir: %+v", got)
		}
	}
}

// TestLateNamespace has an application that makes its own namespace long after it was started, and connects there at once.
func TestLateNamespace(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.HTTPBackend("shop", "10.60.0.1:8080")
	pods := harness.NewCgroup(t)
	weir := node.StartWeir(harness.WeirOptions{
		Config: containers(backend.Addr), Capture: []*harness.Cgroup{pods}, Interception: userSpace + ", namespaces: {upstream: HOST}, fail_policy: CLOSED",
	})
	const program = `
read line
exec unshare -n sh -c 'ip link set lo up; until curl -s --max-time 5 http://10.99.0.1/; do tries=$((tries+1)); [ $tries -lt 100 ] || exit 1; done'
`
	app := node.App().In(pods).Start("sh", "-c", "sleep 2.5; echo | { "+program+"}")
	wantOK(t, app.Wait(), "shop")
	served(t, weir)
	// Should weir have looked just between the two, another one is late.
	harness.EventuallyNil(t, "a namespace that was noticed late to be counted", func() error {
		const name = "weir.interception.namespaces_noticed_late"
		if n := weir.Stat(name); n == 0 {
			node.App().In(pods).Run("sh", "-c", "exec unshare -n curl -s --max-time 1 http://10.99.0.1/")
			return fmt.Errorf("%s is %d", name, n)
		}
		return nil
	})
	var status struct {
		Reasons []struct {
			Reason string
			Count  int
		}
	}
	weir.JSON("/weir/interception", &status)
	for _, r := range status.Reasons {
		if r.Reason == "other_netns" && (r.Count == 0 || r.Count > 50) {
			t.Errorf("%d connections went before the namespace was served", r.Count)
		}
	}
}

// TestNamespacesDie makes 200 namespaces, each with a device whose other end is on the node, and a process of a captured cgroup in
// it. When the processes have ended nothing of weir's keeps a namespace alive, which the devices show.
func TestNamespacesDie(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := &pod{Host: harness.NewHost(t)}
	pods := harness.NewCgroup(t)
	weir := node.StartWeir(harness.WeirOptions{Config: passthrough(), Capture: []*harness.Cgroup{pods}, Interception: userSpace})
	devices := func() int {
		r := node.App().Run("ip", "-o", "link", "show", "type", "veth")
		return strings.Count(r.Out, "\n")
	}
	threads := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", weir.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	files, before := 0, 0
	const rounds, each = 5, 40
	for round := range rounds {
		var some []*harness.Process
		for n := range each {
			p := node.App().In(pods).Start("unshare", "-n", "sleep", "1000")
			some = append(some, p)
			node.inPod(t, fmt.Sprintf(`
for n in $(seq 100); do [ "$(readlink /proc/%[1]d/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break; sleep 0.01; done
ip link add d%[2]d type veth peer name e0 netns %[1]d; nsenter -t %[1]d -n ip link set lo up`, p.Pid(), n))
		}
		harness.EventuallyNil(t, "all to be served", func() error {
			served := 0
			for _, n := range servedNamespaces(weir) {
				if len(n.CaptureSockets) == 2 {
					served++
				}
			}
			if served != each || devices() != each {
				return fmt.Errorf("%d are served, there are %d devices", served, devices())
			}
			return nil
		})
		for _, p := range some {
			p.Signal(syscall.SIGKILL)
			p.Wait()
		}
		harness.EventuallyNil(t, "all namespaces to end", func() error {
			if n := len(servedNamespaces(weir)); n > 0 || devices() > 0 {
				return fmt.Errorf("%d are served, there are %d devices", n, devices())
			}
			return nil
		})
		if round == 0 {
			files, before = len(weir.Files()), threads()
		}
	}
	harness.EventuallyNil(t, "the same descriptors as before", func() error {
		if now := weir.Files(); len(now) > files {
			return fmt.Errorf("%d descriptors were %d:\n%s", len(now), files, strings.Join(now, " "))
		}
		return nil
	})
	if now := threads(); now > before+4 {
		t.Errorf("%d threads, %d before", now, before)
	}
}
