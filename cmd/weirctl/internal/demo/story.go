package demo

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"
)

// The story's numbers: requests of the canary by one curl and by as many curls, its percentage, and requests after the shift.
const (
	canaryOne   = 280
	canaryMany  = 20
	canaryShare = 10
	afterShift  = 100
)

// url is what the application calls.
const url = "http://" + host

// tell runs the story. An error ends it early; checks that do not hold are in the report.
func (s *shop) tell(ctx context.Context) error {
	s.introduce()
	for _, part := range []func(context.Context) error{s.nowhere, s.begin, s.one, s.canary, s.shift, s.six, s.files, s.sum} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *shop) introduce() {
	fmt.Fprintln(s.out, s.paint(bold, "An online shop, intercepted by weir"))
	s.say(`
%[1]s   order, an application: plain curl, which knows nothing of weir
  |
  |  connect(%[2]s:80)   an address that exists nowhere; the kernel hands the connection to
  v
weir      routes the request, speaks TLS, as a control plane says over xDS
  |
  |-- %[3]s  %[4]s   certificate for %[5]s
  '-- %[6]s  %[7]s   certificate for %[8]s
`, url+"/", ipv4, s.backends[0].Cluster, s.backends[0].Addr, s.backends[0].Name, s.backends[1].Cluster, s.backends[1].Addr, s.backends[1].Name)
	s.say("\nAll of it lives in namespaces of its own, and goes when the story ends.")
}

// nowhere shows that the address leads nowhere by itself.
func (s *shop) nowhere(ctx context.Context) error {
	s.step("Without weir the address leads nowhere")
	s.command("curl " + url + "/stock/teapot")
	c, err := s.order.curl(ctx, true, url+"/stock/teapot")
	if err != nil {
		return err
	}
	s.say("%s", firstLine(c.err))
	s.check(c.status != 0, "curl cannot connect (exit status %d)", c.status)
	return nil
}

// begin starts weir with its configuration from the control plane.
func (s *shop) begin(ctx context.Context) error {
	s.step("weir starts and is configured over xDS")
	if err := s.share(canaryShare, 0); err != nil {
		return err
	}
	config := filepath.Join(s.dir, "bootstrap.yaml")
	err := write(config, "bootstrap.yaml", map[string]any{"AdminPort": adminPort, "PlanePort": s.plane.addr.Port, "Cgroup": s.name})
	if err != nil {
		return err
	}
	s.command("weir -c bootstrap.yaml")
	started := time.Now()
	if s.weir, err = startDaemon(ctx, s.dir, config, adminPort); err != nil {
		return err
	}
	s.say("it serves after %d ms; from the control plane it has", time.Since(started).Milliseconds())
	for _, t := range s.plane.server.Summary() {
		s.say("  %-22s %s", t.Type, strings.Join(t.Names, ", "))
	}
	d, err := s.weir.decisions(ctx)
	if err != nil {
		return err
	}
	s.say("and the kernel has, for the processes in the cgroup %s,", s.name)
	for _, r := range d.Rules {
		s.say("  connections to %s port %d: %s, listener %s", r.Prefix, r.Port, r.Action, r.Listener)
	}
	s.check(d.Active && len(d.Cgroups) == 1 && d.Cgroups[0].Name == s.name, "weir's programs are attached to that cgroup alone")
	c, err := s.order.curl(ctx, false, url+"/stock/teapot")
	if err != nil {
		return err
	}
	s.check(c.status != 0, "for everyone else the address still leads nowhere")
	return nil
}

// one follows a single request.
func (s *shop) one(ctx context.Context) error {
	s.step("One request, followed")
	return s.follow(ctx, "/stock/teapot", ipv4+":80", "-4")
}

// follow makes a request and shows what became of it.
func (s *shop) follow(ctx context.Context, path, peer string, args ...string) error {
	before, err := s.weir.decisions(ctx)
	if err != nil {
		return err
	}
	s.command("curl " + strings.Join(append(args, url+path), " "))
	c, err := s.order.curl(ctx, true, append(args, url+path)...)
	if err != nil {
		return err
	}
	s.followed++
	s.all.add(c)
	var t tally
	t.add(c)
	var a answer
	if list := answers(c.out); len(list) == 1 {
		a = list[0]
	}
	after, err := s.weir.decisions(ctx)
	if err != nil {
		return err
	}
	s.say("curl    %s\n        and believes that %s said it", a.body, a.peer)
	s.say("kernel  captured: %s", reasonText(after, "captured"))
	var r record
	if t.failed == 0 { // otherwise the checks tell
		if r, err = s.record(ctx, path); err != nil {
			return err
		}
		s.say("weir    learned that %s was called\n        route %s, cluster %s, endpoint %s, %s", r.Target, r.Route, r.Cluster, r.Endpoint, r.TLS)
	}
	s.check(t.failed == 0 && t.total == 1, "status %d%s", a.status, t.trouble())
	s.check(a.peer == peer, "curl sees the address that it called, %s", peer)
	captured := after.count("captured") - before.count("captured")
	s.check(captured == 1, "the kernel captured %d connection", captured)
	s.check(r.Target == peer, "weir learned where the connection was going")
	s.check(t.by[r.Cluster] == 1, "the one that weir chose is the one that answered, %s", r.Cluster)
	s.check(strings.HasPrefix(r.TLS, "TLSv1"), "weir spoke %s to it, though the application did not", r.TLS)
	return nil
}

func reasonText(d decisions, reason string) string {
	for _, r := range d.Reasons {
		if r.Reason == reason {
			return r.Text
		}
	}
	return "?"
}

// canary sends many requests while v2 gets its share.
func (s *shop) canary(ctx context.Context) error {
	s.step(fmt.Sprintf("A canary: %d%% of the requests go to v2", canaryShare))
	var t tally
	target := fmt.Sprintf("%s/stock/[1-%d]", url, canaryOne)
	s.command("curl '" + target + "'")
	c, err := s.order.curl(ctx, true, target)
	if err != nil {
		return err
	}
	t.add(c)
	s.all.add(c)
	s.command(fmt.Sprintf("for i in $(seq %d); do curl %s/stock/teapot; done", canaryMany, url))
	for range canaryMany {
		if c, err = s.order.curl(ctx, true, url+"/stock/teapot"); err != nil {
			return err
		}
		t.add(c)
		s.all.add(c)
	}
	v2 := t.by[s.backends[1].Cluster]
	s.bars(&t)
	const n = canaryOne + canaryMany
	s.check(t.total == n && t.failed == 0, "%d of %d requests were answered with status 200%s", t.total-t.failed, n, t.trouble())
	low, high := span(n, canaryShare)
	s.check(low <= v2 && v2 <= high, "v2 got %d; by chance it may be %d to %d (4 standard deviations)", v2, low, high)
	return nil
}

// span is the range in which the number of a percentage of n random choices is expected: 4 standard deviations around the
// mean, which one run in 15,000 misses.
func span(n, percent int) (low, high int) {
	p := float64(percent) / 100
	mean, deviation := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
	return max(0, int(math.Ceil(mean-4*deviation))), int(math.Floor(mean + 4*deviation))
}

// bars draws who answered, in 60 columns.
func (s *shop) bars(t *tally) {
	for _, b := range s.backends {
		n := t.by[b.Cluster]
		s.say("%s %4d  %s", b.Cluster, n, strings.Repeat("#", n*60/max(t.total, 1)))
	}
}

// six calls over IPv6.
func (s *shop) six(ctx context.Context) error {
	s.step("The same over IPv6")
	if !speaksIPv6() {
		s.say("left out: this host has no IPv6")
		return nil
	}
	return s.follow(ctx, "/stock/kettle", "["+ipv6+"]:80", "-6")
}
