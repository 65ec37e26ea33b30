package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

// vanishingPod starts a process with a network namespace that nothing but it holds, and connects that to the node by a device, which
// goes with the namespace.
func vanishingPod(t *testing.T, node *harness.Host, group *harness.Cgroup, device string) *harness.Process {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var nodes string
	if err := node.Do(func() (err error) { nodes, err = os.Readlink("/proc/thread-self/ns/net"); return err }); err != nil {
		t.Fatal(err)
	}
	p := node.App().In(group).Start("unshare", "--net", "sleep", "1000")
	harness.EventuallyNil(t, "the pod has a namespace", func() error {
		in, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.Pid()))
		if err == nil && (in == own || in == nodes) {
			err = errors.New("it is another one's")
		}
		return err
	})
	wantOK(t, node.App().Run("ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(p.Pid())), "")
	return p
}

// pinnedPrograms are the kernel's numbers of the programs whose links are pinned, and the names of the links of namespaces.
func pinnedPrograms(t *testing.T, fs string) (programs []ebpf.ProgramID, namespaces []string) {
	t.Helper()
	pins, err := filepath.Glob(filepath.Join(fs, "weir", "*", "*", "link_*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pins {
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		info, err := l.Info()
		if err = errors.Join(err, l.Close()); err != nil {
			t.Fatal(err)
		}
		programs = append(programs, info.Program)
		if base := filepath.Base(path); strings.HasPrefix(base, "link_netns_") {
			namespaces = append(namespaces, base)
		}
	}
	return programs, namespaces
}

// awaitFreed waits until none of the programs is loaded.
func awaitFreed(t *testing.T, programs []ebpf.ProgramID) {
	t.Helper()
	harness.EventuallyNil(t, "the programs of the weir that is dead to be freed", func() error {
		for _, id := range programs {
			p, err := ebpf.NewProgramFromID(id)
			if err == nil {
				p.Close()
				return fmt.Errorf("program %d is loaded", id)
			}
			if !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// TestNamespaceGoneWithoutWeir has a network namespace, in which datagrams and what comes in were captured, vanish while there is no weir.
// What is pinned does not hold it; the next weir starts, and nothing of the one before stays, nor of its own when it has ended.
func TestNamespaceGoneWithoutWeir(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node, pods, fs := harness.NewHost(t), harness.NewCgroup(t), kerneltest.BPFFS(t)
	device := fmt.Sprintf("gone%d", os.Getpid())
	groups := [2]*harness.Cgroup{pods.Child(t, "gone"), pods.Child(t, "stays")}
	gone := vanishingPod(t, node, groups[0], device)
	vanishingPod(t, node, groups[1], device+"b")
	start := func() *harness.Weir {
		t.Helper()
		return node.StartWeir(harness.WeirOptions{
			Config: harness.Bootstrap{
				Listeners: []string{udpListener("v4", "0.0.0.0:53", true, "cluster: backend"), virtualInbound("")},
				Clusters:  []string{harness.Cluster("backend", harness.To(udpBackend(t, node, "weir "))), harness.OriginalDstCluster("inbound")},
			}.YAML(),
			Capture: []*harness.Cgroup{pods}, Interception: pinning(fs) + ", namespaces: {upstream: HOST}", Flags: []string{"--base-id=79"},
		})
	}
	ask := func(weir *harness.Weir, where *harness.Process) {
		t.Helper()
		in := []string{"nsenter", "--net=/proc/" + strconv.Itoa(where.Pid()) + "/ns/net"}
		wantOK(t, node.App().Run(append(in, "ip", "link", "set", "lo", "up")...), "")
		got := node.App().In(pods).Run(append(in, "python3", "-I", "-c", askOnce, "10.99.0.1")...)
		if strings.TrimSpace(got.Out) != "weir ?" {
			t.Errorf("a datagram: %+v\n%s", got, weir.Log())
		}
	}
	awaitServed := func(weir *harness.Weir, want int) {
		t.Helper()
		harness.EventuallyNil(t, "the pods to be served", func() error {
			if all := servedNamespaces(weir); len(all) != want {
				return fmt.Errorf("%d namespaces are served, want %d", len(all), want)
			}
			return nil
		})
	}
	weir := start()
	awaitServed(weir, 2)
	ask(weir, gone)
	before, namespaces := pinnedPrograms(t, fs)
	if len(namespaces) != 3 { // the node's own, too
		t.Errorf("namespaces with pinned links: %v", namespaces)
	}
	weir.Kill()
	gone.Signal(syscall.SIGKILL)
	gone.Wait()
	harness.EventuallyNil(t, "the namespace to vanish", func() error {
		if got := node.App().Run("ip", "link", "show", device); got.Status == 0 {
			return errors.New(got.Out)
		}
		return nil
	})

	weir = start()
	awaitServed(weir, 1)
	awaitFreed(t, before)
	after, namespaces := pinnedPrograms(t, fs)
	if len(namespaces) != 2 {
		t.Errorf("afterwards, namespaces with pinned links: %v", namespaces)
	}
	if text := weir.Log(); strings.Contains(text, "[error]") {
		t.Errorf("it says\n%s", text)
	}
	if code := weir.Stop(); code != 0 {
		t.Errorf("status %d", code)
	}
	awaitFreed(t, after)
	if states, err := pin.List(fs); len(states) > 0 || err != nil {
		t.Errorf("pinned after an ordered stop: %+v (%v)", states, err)
	}
}
