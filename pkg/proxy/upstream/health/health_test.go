package health

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// script answers checks one after the other, the last one for ever.
type script struct {
	mu   sync.Mutex
	outs []outcome
	at   []time.Time
}

func (s *script) check(context.Context) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	out := s.outs[min(len(s.at), len(s.outs))-1]
	return out
}
func (s *script) name() string { return "HTTP" }
func (s *script) close()       {}

// play runs n checks and returns the flags after each, the waits between them, and the events.
func play(t *testing.T, check model.HealthCheck, traffic bool, n int, outs ...outcome) (flags []upstream.HealthFlags, waits []time.Duration, events []Event) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{outs: outs}
		var wg sync.WaitGroup
		c := &Checker{probe: s, failed: make(chan struct{}, 1), opt: Options{
			Check: &check, Stats: NewStats(stats.NewStore().Root()), Log: log.Discard(),
			Traffic: func() bool { return traffic }, Changed: func() {}, Event: func(e Event) { events = append(events, e) },
		}}
		c.flags.Store(uint32(upstream.FailedActiveHC | upstream.PendingActiveHC))
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { c.run(ctx) })
		for i := range n {
			for {
				synctest.Wait()
				s.mu.Lock()
				done := len(s.at) > i
				s.mu.Unlock()
				if done {
					break
				}
				time.Sleep(time.Millisecond)
			}
			flags = append(flags, c.Flags())
			if i > 0 {
				waits = append(waits, s.at[i].Sub(s.at[i-1]))
			}
		}
		cancel()
		wg.Wait()
	})
	return flags, waits, events
}

func TestThresholds(t *testing.T) {
	const failed, late = upstream.FailedActiveHC, upstream.ActiveHCTimeout
	good, bad := outcome{}, outcome{kind: active}
	for _, c := range []struct {
		name   string
		outs   []outcome
		flags  []upstream.HealthFlags
		events []Event
	}{
		{"the first success is enough", []outcome{good}, []upstream.HealthFlags{0}, []Event{{Kind: AddHealthy, Checker: "HTTP", First: true}}},
		{"a wrong answer counts at once", []outcome{good, bad}, []upstream.HealthFlags{0, failed}, []Event{
			{Kind: AddHealthy, Checker: "HTTP", First: true}, {Kind: EjectUnhealthy, Checker: "HTTP", Failure: "ACTIVE"},
		}},
		{"coming back takes the threshold", []outcome{good, bad, good, good}, []upstream.HealthFlags{0, failed, failed, 0}, []Event{
			{Kind: AddHealthy, Checker: "HTTP", First: true}, {Kind: EjectUnhealthy, Checker: "HTTP", Failure: "ACTIVE"}, {Kind: AddHealthy, Checker: "HTTP"},
		}},
		{
			"the network gets a second chance",
			[]outcome{good, {kind: network}, good, {kind: network}, {kind: timeout}, {kind: network}},
			[]upstream.HealthFlags{0, 0, 0, 0, failed | late, failed},
			[]Event{
				{Kind: AddHealthy, Checker: "HTTP", First: true}, {Kind: EjectUnhealthy, Checker: "HTTP", Failure: "NETWORK_TIMEOUT"},
			},
		},
		{"retriable statuses too", []outcome{good, {kind: retriable}, {kind: retriable}}, []upstream.HealthFlags{0, 0, failed}, []Event{
			{Kind: AddHealthy, Checker: "HTTP", First: true}, {Kind: EjectUnhealthy, Checker: "HTTP", Failure: "NETWORK"},
		}},
		{"a host that never was well", []outcome{bad, good, good}, []upstream.HealthFlags{failed, failed, 0}, []Event{
			{Kind: CheckFailure, Checker: "HTTP", Failure: "ACTIVE", First: true}, {Kind: AddHealthy, Checker: "HTTP"},
		}},
		{"degraded", []outcome{{degraded: true}, good}, []upstream.HealthFlags{upstream.DegradedActiveHC, 0}, []Event{
			{Kind: AddHealthy, Checker: "HTTP", First: true}, {Kind: Degraded, Checker: "HTTP"}, {Kind: NoLongerDegraded, Checker: "HTTP"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := model.HealthCheck{
				Timeout: time.Second, Interval: time.Second, UnhealthyThreshold: 2, HealthyThreshold: 2,
				UnhealthyInterval: time.Second, UnhealthyEdgeInterval: time.Second, HealthyEdgeInterval: time.Second,
			}
			flags, _, events := play(t, check, true, len(c.outs), c.outs...)
			if d := cmp.Diff(c.flags, flags); d != "" {
				t.Errorf("flags (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.events, events); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
		})
	}
}

func TestIntervals(t *testing.T) {
	check := model.HealthCheck{
		Timeout: time.Second, Interval: 10 * time.Second, UnhealthyThreshold: 1, HealthyThreshold: 1, HealthyEdgeInterval: 11 * time.Second,
		UnhealthyInterval: 2 * time.Second, UnhealthyEdgeInterval: 3 * time.Second, NoTrafficInterval: 60 * time.Second, NoTrafficHealthyInterval: 90 * time.Second,
	}
	good, bad := outcome{}, outcome{kind: active}
	s := time.Second
	for _, c := range []struct {
		name    string
		traffic bool
		outs    []outcome
		want    []time.Duration
	}{
		{"with traffic", true, []outcome{good, good, bad, bad, good, good}, []time.Duration{11 * s, 10 * s, 3 * s, 2 * s, 11 * s}},
		{"without traffic", false, []outcome{good, bad, bad}, []time.Duration{90 * s, 60 * s}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, waits, _ := play(t, check, c.traffic, len(c.outs), c.outs...)
			for i := range waits {
				waits[i] = waits[i].Round(s)
			}
			if d := cmp.Diff(c.want, waits); d != "" {
				t.Errorf("waits (-want +got):\n%s", d)
			}
		})
	}
}

// dialling is a host that listens at addr.
func dialling(addr string) Target {
	return Target{Cluster: "backend", Dial: func(ctx context.Context, _ []string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}}
}

// once does one check of a server that listens at addr.
func once(t *testing.T, check *model.HealthCheck, addr string) outcome {
	t.Helper()
	p := newProber(&Options{Check: check, Target: dialling(addr)})
	defer p.close()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	first := p.check(ctx)
	if again := p.check(ctx); again.kind != first.kind {
		t.Errorf("the second check of the same connection: %+v, the first: %+v", again, first)
	}
	return first
}

func TestHTTP(t *testing.T) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Envoy-Upstream-Healthchecked-Cluster", "shop-v2")
		switch r.URL.Path {
		case "/degraded":
			w.Header().Set("X-Envoy-Degraded", "1")
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
		case "/mirror":
			for _, name := range []string{"User-Agent", "X-One", "X-Two"} {
				io.WriteString(w, strings.Join(r.Header.Values(name), ",")+";")
			}
			body, _ := io.ReadAll(r.Body)
			io.WriteString(w, r.Method+";"+r.Host+";"+r.URL.RawQuery+";"+string(body))
		}
	}))
	server.Config.Protocols = protocols
	server.Start()
	defer server.Close()
	for _, c := range []struct {
		name string
		spec model.HTTPHealthCheck
		want outcome
	}{
		{"200", model.HTTPHealthCheck{Path: "/"}, outcome{}},
		{"degraded", model.HTTPHealthCheck{Path: "/degraded"}, outcome{degraded: true}},
		{"unexpected", model.HTTPHealthCheck{Path: "/teapot"}, outcome{kind: active, reason: "status 418"}},
		{"retriable", model.HTTPHealthCheck{Path: "/teapot", Retriable: []model.StatusRange{{Start: 400, End: 500}}}, outcome{kind: retriable, reason: "status 418"}},
		{"expected", model.HTTPHealthCheck{Path: "/teapot", Expected: []model.StatusRange{{Start: 418, End: 419}}}, outcome{}},
		{"the whole request", model.HTTPHealthCheck{
			Path: "/mirror?a=b", Method: "POST", Send: []byte("ping"), Host: "shop.example",
			Add:     []model.HealthCheckHeader{{Name: "x-one", Value: "1", Append: true}, {Name: "x-one", Value: "2", Append: true}, {Name: "x-two", Value: "3"}},
			Receive: [][]byte{[]byte("Envoy/HC;1,2;3;"), []byte("POST;shop.example;a=b;ping")},
		}, outcome{}},
		{"without its agent", model.HTTPHealthCheck{Path: "/mirror", Remove: []string{"user-agent"}, Receive: [][]byte{[]byte(";;;GET;backend;")}}, outcome{}},
		{"another body", model.HTTPHealthCheck{Path: "/mirror", Receive: [][]byte{[]byte("POST")}}, outcome{kind: active, reason: "the answer lacks what the check expects"}},
		{"the right service", model.HTTPHealthCheck{Path: "/", ServiceName: &model.StringMatcher{Kind: model.MatchPrefix, Value: "shop"}}, outcome{}},
		{"another service", model.HTTPHealthCheck{Path: "/", ServiceName: &model.StringMatcher{Value: "bank"}}, outcome{kind: wrongService, reason: `service "shop-v2" answered`}},
	} {
		for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
			for _, reuse := range []bool{true, false} {
				t.Run(c.name+" over "+version, func(t *testing.T) {
					spec := c.spec
					spec.HTTP2 = version == "HTTP/2"
					if spec.Method == "" {
						spec.Method = "GET"
					}
					if spec.Expected == nil {
						spec.Expected = []model.StatusRange{{Start: 200, End: 201}}
					}
					got := once(t, &model.HealthCheck{HTTP: &spec, ReuseConnection: reuse}, server.Listener.Addr().String())
					if got != c.want {
						t.Errorf("%+v, want %+v", got, c.want)
					}
				})
			}
		}
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					io.WriteString(c, "you said "+line)
				}
			})
		}
	})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := free.Addr().String()
	free.Close()
	for _, c := range []struct {
		name, addr string
		spec       model.TCPHealthCheck
		want       kind
	}{
		{"connect only", l.Addr().String(), model.TCPHealthCheck{}, success},
		{"nobody there", closed, model.TCPHealthCheck{}, network},
		{"answer", l.Addr().String(), model.TCPHealthCheck{Send: []byte("hi\n"), Receive: [][]byte{[]byte("you"), []byte("hi")}}, success},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := once(t, &model.HealthCheck{TCP: &c.spec, ReuseConnection: true}, c.addr); got.kind != c.want {
				t.Errorf("%+v, want kind %d", got, c.want)
			}
		})
	}
}

// A host that accepts and says nothing fails by timeout.
func TestTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, check := range map[string]*model.HealthCheck{
		"HTTP": {HTTP: &model.HTTPHealthCheck{Path: "/", Method: "GET"}},
		"TCP":  {TCP: &model.TCPHealthCheck{Send: []byte("x"), Receive: [][]byte{[]byte("y")}}},
	} {
		t.Run(name, func(t *testing.T) {
			check.Timeout = 50 * time.Millisecond
			c := &Checker{opt: Options{Check: check, Stats: NewStats(stats.NewStore().Root()), Target: Target{
				Cluster: "backend", Dial: func(ctx context.Context, _ []string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
				},
			}}}
			c.probe = newProber(&c.opt)
			defer c.probe.close()
			if out := c.check(t.Context()); out.kind != timeout {
				t.Errorf("%+v, want a timeout", out)
			}
		})
	}
}
