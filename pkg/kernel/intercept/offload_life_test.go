package intercept

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/test/await"
)

// TestCountersAreExact makes ten thousand connections that end in every way there is, and looks at what is left.
func TestCountersAreExact(t *testing.T) {
	const times = 10_000
	b := newBench(t)
	good, closed := crowd(t, "127.0.0.1:0", "hello"), unused(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	b.applyServices(t, offloaded("shop", steer.RoundRobin, good, good2(t), closed))
	ways := []string{endGreeted, endReset, endAborted, endUnread, endTwice}
	got := clients(t, b.dir, burst{Addr: nowhere4, Times: times, Threads: 8, How: ways})
	stats := b.idle(t)
	attempts, failed := uint64(0), uint64(0)
	for _, e := range stats.Endpoints {
		attempts += e.Total
		failed += e.ConnectFail
		if e.Addr == closed && e.ConnectFail == 0 || e.Addr != closed && e.ConnectFail != 0 {
			t.Errorf("endpoint %s: %+v", e.Addr, e)
		}
	}
	if stats.Total != attempts || stats.Total < times || stats.Total > times+times/5 {
		t.Errorf("%d connections, the endpoints' together %d, want %d and as many as there were second ones", stats.Total, attempts, times)
	}
	if got.Errnos[int(unix.ECONNREFUSED)] == 0 || len(got.Errnos) > 2 {
		t.Errorf("errors %v, want refusals", got.Errnos)
	}
	if b.count(t, ReasonOffloaded) != stats.Total {
		t.Errorf("offloaded %d times, %d connections", b.count(t, ReasonOffloaded), stats.Total)
	}
}

func good2(t *testing.T) netip.AddrPort { return crowd(t, "127.0.0.2:0", "hello") }

// TestBytes compares the payload counted with the payload sent, however the connection was closed.
func TestBytes(t *testing.T) {
	const sent, times = 5000, 20
	serverFirst := func(conn net.Conn) {
		io.CopyN(io.Discard, conn, sent)
		fmt.Fprint(conn, "goodbye!")
		conn.Close()
	}
	clientFirst := func(conn net.Conn) {
		io.CopyN(io.Discard, conn, sent)
		fmt.Fprint(conn, "goodbye!")
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	for name, server := range map[string]func(net.Conn){"server closes first": serverFirst, "client closes first": clientFirst} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.apply(t, b.offloadPlan("192.0.2.80/32"))
			b.applyServices(t, offloaded("shop", steer.RoundRobin, serve(t, "127.0.0.1:0", server)))
			got := clients(t, b.dir, burst{Addr: nowhere4, Times: times, Send: sent})
			if got.Greetings["goodbye!"] != times {
				t.Fatalf("%+v", got)
			}
			e := b.idle(t).Endpoints[0]
			if e.TxBytes != sent*times || e.RxBytes != 8*times {
				t.Errorf("%d bytes to the endpoint and %d from it, want %d and %d", e.TxBytes, e.RxBytes, sent*times, 8*times)
			}
		})
	}
}

// TestBytesOfLiveConnections looks at the counters while the connections are there.
func TestBytesOfLiveConnections(t *testing.T) {
	const sent, times = 100_000, 5
	b := newBench(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	b.applyServices(t, offloaded("shop", steer.RoundRobin, crowd(t, "127.0.0.1:0", "hello")))
	startClients(t, b.dir, burst{Addr: nowhere4, Times: times, Threads: times, Send: sent, Hold: true})
	stats := b.serviceStats(t)
	if e := stats.Endpoints[0]; stats.Active != times || e.TxBytes == 0 || e.TxBytes > sent*times {
		t.Errorf("%d connections, endpoint %+v, want some of %d bytes", stats.Active, e, sent*times)
	}
}

func TestConnectionLimit(t *testing.T) {
	b := newBench(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	s := offloaded("shop", steer.RoundRobin, crowd(t, "127.0.0.1:0", "hello"))
	s.MaxConnections = 5
	b.applyServices(t, s)
	deaths := map[string]func(p *clientProcess){
		"exit":    func(p *clientProcess) { p.stop() },
		"SIGKILL": func(p *clientProcess) { p.kill() },
	}
	for name, die := range deaths {
		t.Run(name, func(t *testing.T) {
			before := b.serviceStats(t)
			p := startClients(t, b.dir, burst{Addr: nowhere4, Times: 50, Threads: 10, Hold: true})
			if p.Greetings["hello"] != 5 || p.Errnos[int(unix.ECONNREFUSED)] != 45 {
				t.Fatalf("%+v, want 5 connections and 45 refusals", p.tally)
			}
			got := b.serviceStats(t)
			if got.Active != 5 || got.Total-before.Total != 5 || got.Overflow-before.Overflow != 45 {
				t.Errorf("counters %+v, before %+v", got, before)
			}
			if x, err := b.Explain(Query{Dst: netip.MustParseAddrPort(nowhere4)}); err != nil || x.Reason != ReasonServiceFull {
				t.Errorf("explained as %s (%v)", x.Reason, err)
			}
			die(p)
			b.idle(t)
		})
	}
}

// TestConnectionsThatNeverCome has connections end before they are established.
func TestConnectionsThatNeverCome(t *testing.T) {
	b := newBench(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	b.applyServices(t, offloaded("shop", steer.RoundRobin, deaf(t)))
	t.Run("not answered", func(t *testing.T) {
		got := clients(t, b.dir, burst{Addr: nowhere4, Times: 4, Threads: 4, SynCount: 1})
		if got.Errnos[int(unix.ETIMEDOUT)] != 4 {
			t.Errorf("%+v, want time-outs", got)
		}
		if e := b.idle(t).Endpoints[0]; e.ConnectFail != 4 || e.Total != 4 {
			t.Errorf("endpoint %+v, want 4 failures", e)
		}
	})
	t.Run("killed while connecting", func(t *testing.T) {
		before := b.serviceStats(t)
		cmd := spawn(t, b.dir, "client")
		cmd.Env = append(cmd.Env, fmt.Sprintf(`WEIR_TEST_REQUEST={"Addr":%q}`, nowhere4))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await.True(t, "it connects", func() bool { return b.serviceStats(t).Active == 1 })
		cmd.Process.Kill()
		cmd.Wait()
		after := b.idle(t)
		if after.Total != before.Total+1 || after.Endpoints[0].ConnectFail != before.Endpoints[0].ConnectFail {
			t.Errorf("counters %+v, before %+v: a client that gives up is no failure", after, before)
		}
	})
	t.Run("no route", func(t *testing.T) {
		before := b.serviceStats(t)
		b.applyServices(t, offloaded("shop", steer.RoundRobin, netip.MustParseAddrPort("198.51.100.1:80")))
		ans := client(t, b.dir, request{Addr: nowhere4}, func(attr *syscall.SysProcAttr) { attr.Cloneflags = unix.CLONE_NEWNET })
		if ans.Errno != int(unix.ENETUNREACH) {
			t.Errorf("client %+v, want ENETUNREACH", ans)
		}
		if after := b.idle(t); after.Total != before.Total+1 {
			t.Errorf("counters %+v, before %+v", after, before)
		}
	})
}

// deaf is a socket that listens with a full backlog: it does not answer any more.
func deaf(t *testing.T) netip.AddrPort {
	t.Helper()
	addr := unused(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), addr.Port())
	if err := errors.Join(unix.Bind(fd, sockaddr(addr, false)), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		conn, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
	}
	return addr
}

// TestOffloadFromOtherNamespace has a client elsewhere, to whom loopback is another place.
func TestOffloadFromOtherNamespace(t *testing.T) {
	i, _, _ := newDecider(t)
	plan := &steer.Plan{Rules: []steer.Rule{{
		Prefix: netip.MustParsePrefix("192.0.2.80/32"), Port: 80, Action: steer.Offload, Service: "shop", Listener: "shop",
	}}}
	i.mustApply(t, plan)
	dst, far, near := netip.MustParseAddrPort(nowhere4), netip.MustParseAddrPort("198.51.100.1:8080"), netip.MustParseAddrPort("127.0.0.1:8080")
	for _, test := range []struct {
		name     string
		endpoint netip.AddrPort
		netns    uint64
		own      bool
		want     Reason
	}{
		{"own", far, 0, false, ReasonOffloaded},
		{"own, loopback", near, 0, false, ReasonOffloaded},
		{"own, for it alone", far, 0, true, ReasonOffloaded},
		{"other", far, 1 << 40, false, ReasonOffloaded},
		{"other, loopback", near, 1 << 40, false, ReasonOtherNetns},
		{"other, for the own alone", far, 1 << 40, true, ReasonOtherNetns},
	} {
		t.Run(test.name, func(t *testing.T) {
			service := offloaded("shop", steer.RoundRobin, test.endpoint)
			service.OwnNamespace = test.own
			i.applyServices(t, service)
			x, err := i.Explain(Query{Dst: dst, Netns: test.netns})
			if err != nil || x.Reason != test.want || x.Service != "shop" {
				t.Errorf("%+v (%v), want %s", x, err, test.want)
			}
			if x.Action == ActionOffload && x.Target != test.endpoint {
				t.Errorf("target %s, want %s", x.Target, test.endpoint)
			}
		})
	}
}

// TestOffloadAboveAndBelow runs the programs twice for each connection.
func TestOffloadAboveAndBelow(t *testing.T) {
	b := newBench(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	b.applyServices(t, offloaded("shop", steer.RoundRobin, crowd(t, "127.0.0.1:0", "hello")))
	below := kerneltest.Cgroup(t, b.hierarchy, b.name+"/below")
	b.attachTo(t, below)
	if ans := client(t, below, request{Addr: nowhere4}); ans.Greeting != "hello" || ans.Peer != nowhere4 {
		t.Errorf("client %+v", ans)
	}
	if stats := b.idle(t); stats.Total != 1 || b.count(t, ReasonOffloadTarget) != 1 {
		t.Errorf("counters %+v, offload_target %d", stats, b.count(t, ReasonOffloadTarget))
	}
}

// TestUpdatesUnderLoad changes endpoints all the time; each of them works, so that no connection may fail.
func TestUpdatesUnderLoad(t *testing.T) {
	b := newBench(t)
	var all []netip.AddrPort
	for range 6 {
		all = append(all, crowd(t, "127.0.0.1:0", "hello"))
	}
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	b.applyServices(t, offloaded("shop", steer.RoundRobin, all[0]))
	var stop atomic.Bool
	var updating sync.WaitGroup
	updates := make(chan int, 1)
	t.Cleanup(func() { // before the Interceptor is closed, also when the clients have failed
		stop.Store(true)
		updating.Wait()
	})
	updating.Go(func() {
		n := 0
		for ; !stop.Load(); n++ {
			how := steer.Select(n % 4)
			if err := b.ApplyServices([]*steer.Service{offloaded("shop", how, all[n%6], all[(n+1)%6], all[(n+3)%6])}, nil); err != nil {
				t.Error(err)
			}
			if n%50 == 0 {
				if err := b.Refresh(); err != nil {
					t.Error(err)
				}
			}
		}
		updates <- n
	})
	got := clients(t, b.dir, burst{Addr: nowhere4, Times: 8000, Threads: 4, How: []string{endGreeted, endReset}})
	stop.Store(true)
	if n := <-updates; n < 100 {
		t.Errorf("only %d updates", n)
	}
	if len(got.Errnos) > 0 || got.Greetings["hello"] != 8000 {
		t.Errorf("%+v, want 8000 connections and no error", got)
	}
	stats := b.idle(t)
	if err := b.Refresh(); err != nil {
		t.Fatal(err)
	}
	total := uint64(0)
	for _, e := range append(stats.Endpoints, stats.Gone...) {
		total += e.Total
	}
	if stats.Total != 8000 || total != 8000 {
		t.Errorf("%d connections, %d by endpoint, want 8000", stats.Total, total)
	}
}

// TestDetachedWithConnections has a cgroup leave the plan, and one be removed, while there are connections.
func TestDetachedWithConnections(t *testing.T) {
	b := newBench(t)
	b.applyServices(t, offloaded("shop", steer.RoundRobin, crowd(t, "127.0.0.1:0", "hello")))
	hold := burst{Addr: nowhere4, Times: 10, Hold: true}
	plan := b.offloadPlan("192.0.2.80/32")
	b.apply(t, plan)
	p := startClients(t, b.dir, hold)
	b.apply(t, nil)
	if got := b.cgroups(t); got != "" {
		t.Errorf("attached to %q, want nothing", got)
	}
	b.apply(t, plan)
	second := startClients(t, b.dir, hold)
	if b.Interceptor.cgroups.Lingering() != 0 {
		t.Error("attached twice")
	}
	b.apply(t, nil)
	if n := b.serviceStats(t).Active; n != 20 {
		t.Errorf("%d connections, want 20", n)
	}
	p.kill()
	second.stop()
	if stats := b.idle(t); stats.Total != 20 {
		t.Errorf("%d connections, want 20", stats.Total)
	}
	if err := b.Refresh(); err != nil || b.Interceptor.cgroups.Lingering() != 0 {
		t.Errorf("after the last connection: %v, %d former cgroups are attached to", err, b.Interceptor.cgroups.Lingering())
	}
	t.Run("removed", func(t *testing.T) {
		plan.Cgroups = []string{b.name + "/gone"}
		dir, _, err := b.hierarchy.Create(b.name + "/gone")
		if err != nil {
			t.Fatal(err)
		}
		b.apply(t, plan)
		startClients(t, dir, hold).kill()
		await.True(t, "the cgroup is removed", func() bool { return b.hierarchy.Remove(dir) == nil })
		if err := b.Refresh(); err != nil {
			t.Fatal(err)
		}
		b.idle(t)
		await.True(t, "nothing is attached", func() bool { return b.Refresh() == nil && b.Interceptor.cgroups.Lingering() == 0 })
	})
}

// TestOffloadTakeOver lets one interceptor take over from another while there are connections: these go on telling what the
// application asked for, and what the new one counts is its own.
func TestOffloadTakeOver(t *testing.T) {
	b := newBench(t)
	fs := kerneltest.BPFFS(t)
	service := offloaded("shop", steer.RoundRobin, crowd(t, "127.0.0.1:0", "hello"))
	plan := b.offloadPlan("192.0.2.80/32")
	load := func(takeOver bool) *Interceptor {
		store, err := pin.Open(pin.Options{FS: fs, Instance: "test", TakeOver: takeOver})
		if err != nil {
			t.Fatal(err)
		}
		i, err := New(Options{ProxyMark: testMark, Hierarchy: b.hierarchy, Pins: store})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { i.Close() })
		i.applyServices(t, service)
		i.mustApply(t, plan)
		return i
	}
	old := load(false)
	held := startClients(t, b.dir, burst{Addr: nowhere4, Times: 5, Hold: true})
	next := load(true)
	if err := errors.Join(old.Yield(), next.opts.Pins.Lock(t.Context()), old.Close()); err != nil {
		t.Fatal(err)
	}
	own := startClients(t, b.dir, burst{Addr: nowhere4, Times: 3, Hold: true})
	held.stop()
	if stats := next.serviceStats(t); stats.Active != 3 || stats.Total != 3 {
		t.Errorf("counters %+v, want those of 3 connections", stats)
	}
	own.stop()
	if stats := next.idle(t); stats.Total != 3 {
		t.Errorf("counters %+v, want those of 3 connections", stats)
	}
	if ans := client(t, b.dir, request{Addr: nowhere4}); ans.Greeting != "hello" || ans.Peer != nowhere4 {
		t.Errorf("client %+v", ans)
	}
}
