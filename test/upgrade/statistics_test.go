package upgrade

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// TestStatisticsGoOn replaces a weir that has served requests and holds connections twice. Totals go on from where they were, gauges show
// what both hold as long as both live, and uptimes tell the whole from the part.
func TestStatisticsGoOn(t *testing.T) {
	host := harness.NewHost(t)
	web := host.HTTPBackend("web", "127.0.0.1:0")
	echo := host.TCPBackend("127.0.0.1:0", harness.Greets("weir"))
	conf := harness.Bootstrap{
		Listeners: []string{
			harness.Listener{Name: "http", Address: "127.0.0.1:10000", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "web")))}}.YAML(),
			harness.Listener{Name: "tcp", Address: "127.0.0.1:10001", Chains: []string{harness.Chain(harness.TCP("echo"))}}.YAML(),
		},
		Clusters: []string{harness.Cluster("web", harness.To(web.Addr)), harness.Cluster("echo", harness.To(echo.Addr))},
	}.YAML()
	start := func(flags ...string) *harness.Weir {
		t.Helper()
		return host.StartWeir(harness.WeirOptions{Config: conf, Flags: append(flags, "--parent-shutdown-time-s", "60")})
	}
	get := func(n int, path string) {
		t.Helper()
		for range n {
			answer, err := host.Client().Get("http://127.0.0.1:10000" + path)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
		}
	}
	const requests, held = 25, 3
	first := start()
	get(requests, "/")
	var conns []io.Closer
	for range held {
		conns = append(conns, host.MustDial("127.0.0.1:10001"))
	}
	const active, total, answered = "listener.127.0.0.1_10001.downstream_cx_active", "cluster.web.upstream_rq_total", "cluster.web.upstream_rq_200"
	first.AwaitStat(active, func(n int) bool { return n == held })
	began := uptimes(t, first)
	if began.all != began.current || first.Stat("server.hot_restart_generation") != 1 {
		t.Errorf("the first weir: %+v, generation %d", began, first.Stat("server.hot_restart_generation"))
	}
	harness.Eventually(t, "the first weir is some seconds old", func() bool { return uptimes(t, first).current >= 3 })

	second := start("--restart-epoch", "1")
	want := func(weir *harness.Weir, what string, stats map[string]int) {
		t.Helper()
		for name, n := range stats {
			if got := weir.Stat(name); got != n {
				t.Errorf("%s: %s: %d, want %d", what, name, got, n)
			}
		}
	}
	want(second, "after the upgrade", map[string]int{
		total: requests, answered: requests, "http.ingress.downstream_rq_2xx": requests, active: held, "listener.127.0.0.1_10001.downstream_cx_total": held,
		"server.parent_connections": held, "server.total_connections": held, "server.hot_restart_epoch": 1, "server.hot_restart_generation": 2,
		"cluster.echo.membership_total": 1, "listener_manager.total_listeners_active": 2, "server.live": 1,
	})
	if up := uptimes(t, second); up.all < 3 || up.current >= up.all || second.Stat("server.uptime") < 3 {
		t.Errorf("uptimes of the second weir: %+v, server.uptime %d", up, second.Stat("server.uptime"))
	}
	if page := second.Page("/hot_restart_version"); !strings.HasPrefix(page, "weir.") {
		t.Errorf("/hot_restart_version says %q", page)
	}
	get(5, "/")
	harness.Eventually(t, "the first weir accepts no more", func() bool {
		conn := host.MustDial("127.0.0.1:10001")
		second.AwaitStat(active, func(n int) bool { return n == held+1 })
		if second.Stat("server.parent_connections") == held {
			conns = append(conns, conn)
			return true
		}
		conn.Close()
		second.AwaitStat(active, func(n int) bool { return n == held })
		return false
	})
	want(second, "with connections of both", map[string]int{total: requests + 5, answered: requests + 5, "server.total_connections": held + 1})

	// A connection of the first one ends, then all of them, and with them the first one.
	conns[0].Close()
	second.AwaitStat(active, func(n int) bool { return n == held })
	want(second, "one less", map[string]int{"server.parent_connections": held - 1})
	for _, c := range conns[1:held] {
		c.Close()
	}
	if status := first.Wait(); status != 0 {
		t.Errorf("the first weir ended with status %d", status)
	}
	second.AwaitStat("server.parent_connections", func(n int) bool { return n == 0 })
	want(second, "alone", map[string]int{active: 1, "server.total_connections": 1, total: requests + 5, "server.hot_restart_generation": 2})

	// The third one goes on from both.
	third := start("--restart-epoch", "2")
	want(third, "after the second upgrade", map[string]int{
		total: requests + 5, active: 1, "server.parent_connections": 1, "server.hot_restart_generation": 3, "server.hot_restart_epoch": 2,
	})
	conns[held].Close()
	second.Wait()

	// One that is told not to goes on from nothing but the time.
	fourth := start("--restart-epoch", "3", "--skip-hot-restart-parent-stats")
	want(fourth, "without statistics", map[string]int{total: 0, "server.parent_connections": 0, "server.hot_restart_generation": 1})
	if up := uptimes(t, fourth); up.all < 3 {
		t.Errorf("uptimes of the fourth weir: %+v", up)
	}
}

type uptime struct{ current, all int }

// uptimes are those of /server_info, in seconds.
func uptimes(t *testing.T, weir *harness.Weir) uptime {
	t.Helper()
	var info struct {
		Current string `json:"uptime_current_epoch"`
		All     string `json:"uptime_all_epochs"`
	}
	if err := json.Unmarshal([]byte(weir.Page("/server_info")), &info); err != nil {
		t.Fatal(err)
	}
	seconds := func(text string) int {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return int(d.Seconds())
	}
	return uptime{seconds(info.Current), seconds(info.All)}
}

// TestSinksGetEachEventOnce adds up what statsd gets of two weirs, of which the one ships for both as long as both live, or each for itself.
func TestSinksGetEachEventOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		interval string
		flags    []string
	}{
		"carried over":                {interval: "0.2s"},
		"each its own":                {interval: "0.2s", flags: []string{"--skip-hot-restart-parent-stats"}},
		"carried over, at the end":    {interval: "60s"},
		"each its own, when they end": {interval: "60s", flags: []string{"--skip-hot-restart-parent-stats"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			web := host.HTTPBackend("web", "127.0.0.1:0")
			echo := host.TCPBackend("127.0.0.1:0", harness.Greets("weir"))
			sums := countStatsd(t, host, "127.0.0.1:8125")
			conf := harness.Bootstrap{
				Listeners: []string{
					harness.Listener{Name: "http", Address: "127.0.0.1:10000", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "web")))}}.YAML(),
					harness.Listener{Name: "tcp", Address: "127.0.0.1:10001", Chains: []string{harness.Chain(harness.TCP("echo"))}}.YAML(),
				},
				Clusters: []string{harness.Cluster("web", harness.To(web.Addr)), harness.Cluster("echo", harness.To(echo.Addr))},
				More: `stats_flush_interval: ` + tc.interval + `
stats_sinks: [{name: envoy.stat_sinks.statsd, typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink, address: {socket_address: {address: 127.0.0.1, port_value: 8125}}}}]`,
			}.YAML()
			start := func(flags ...string) *harness.Weir {
				return host.StartWeir(harness.WeirOptions{Config: conf, Flags: append(flags, "--parent-shutdown-time-s", "60")})
			}
			const requests, held = 40, 4
			first := start()
			var conns []io.Closer
			for range held {
				conns = append(conns, host.MustDial("127.0.0.1:10001"))
			}
			for range requests {
				answer, err := host.Client().Get("http://127.0.0.1:10000/")
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
			}
			second := start(append(tc.flags, "--restart-epoch", "1")...)
			// These end in the first one, when the second one ships.
			for _, c := range conns {
				c.Close()
			}
			if status := first.Wait(); status != 0 {
				t.Errorf("the first weir ended with status %d", status)
			}
			second.Stop()
			for stat, want := range map[string]int{
				"envoy.cluster.web.upstream_rq_total": requests, "envoy.cluster.web.upstream_rq_200": requests,
				"envoy.tcp.tcp.downstream_cx_total": held, "envoy.cluster.echo.upstream_cx_destroy": held,
			} {
				harness.EventuallyNil(t, stat, func() error {
					if got := sums(stat); got != want {
						return fmt.Errorf("statsd has %d, want %d", got, want)
					}
					return nil
				})
			}
		})
	}
}

// countStatsd serves statsd and gives the sum of what it got of a counter.
func countStatsd(t *testing.T, host *harness.Host, addr string) func(stat string) int {
	t.Helper()
	var pc net.PacketConn
	if err := host.Do(func() (err error) {
		pc, err = net.ListenPacket("udp", addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := pc.(*net.UDPConn).SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	sums := make(map[string]int)
	var reading sync.WaitGroup
	reading.Go(func() {
		data := make([]byte, 64<<10)
		for {
			n, _, err := pc.ReadFrom(data)
			if err != nil {
				return
			}
			mu.Lock()
			for line := range strings.Lines(string(data[:n])) {
				name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
				if number, ok := strings.CutSuffix(rest, "|c"); ok {
					more, _ := strconv.Atoi(number)
					sums[name] += more
				}
			}
			mu.Unlock()
		}
	})
	t.Cleanup(func() { pc.Close(); reading.Wait() })
	return func(stat string) int {
		mu.Lock()
		defer mu.Unlock()
		return sums[stat]
	}
}
