package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// fake answers by network and name; a name without an entry does not exist.
type fake struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr
	err     error
	asked   []time.Time
}

func (f *fake) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, time.Now())
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if f.err != nil {
		return nil, f.err
	}
	addrs := f.answers[network+" "+name]
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return addrs, nil
}

func (f *fake) set(key string, err error, addrs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answers == nil {
		f.answers = make(map[string][]netip.Addr)
	}
	f.answers[key], f.err = parse(addrs...), err
}

func parse(addrs ...string) (out []netip.Addr) {
	for _, a := range addrs {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestLookup(t *testing.T) {
	both, v4 := &fake{}, &fake{}
	both.set("ip4 web", nil, "10.0.0.1", "10.0.0.2", "10.0.0.1")
	both.set("ip6 web", nil, "fd00::1")
	both.set("ip web", nil, "fd00::1", "::ffff:10.0.0.1")
	v4.set("ip4 web", nil, "::ffff:10.0.0.1")
	tests := []struct {
		name     string
		resolver Resolver
		family   model.DNSFamily
		want     []netip.Addr
	}{
		{"auto takes v6", both, model.DNSAuto, parse("fd00::1")},
		{"auto falls back to v4", v4, model.DNSAuto, parse("10.0.0.1")},
		{"v4 only", both, model.DNSV4Only, parse("10.0.0.1", "10.0.0.2")},
		{"v6 only", both, model.DNSV6Only, parse("fd00::1")},
		{"v6 only without any", v4, model.DNSV6Only, nil},
		{"v4 preferred", both, model.DNSV4Preferred, parse("10.0.0.1", "10.0.0.2")},
		{"all", both, model.DNSAll, parse("fd00::1", "10.0.0.1")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Lookup(t.Context(), tt.resolver, tt.family, "web")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("addresses (-want +got):\n%s", d)
			}
		})
	}
	both.set("ip6 web", errors.New("broken"))
	if _, err := Lookup(t.Context(), both, model.DNSAuto, "web"); err == nil {
		t.Error("no error from a broken resolver")
	}
}

func TestSystemResolverReadsHosts(t *testing.T) {
	got, err := Lookup(t.Context(), System(), model.DNSV4Preferred, "localhost")
	if err != nil || len(got) != 1 || !got[0].IsLoopback() {
		t.Errorf("localhost is %v, %v", got, err)
	}
}

// update is what a watch reported.
type update struct {
	name  string
	addrs string
}

func watch(f Resolver, cfg Config) (w *Watch, updates chan update, first chan struct{}, s Stats) {
	root := stats.NewStore().Root()
	s = Stats{Attempt: root.Counter("a"), Success: root.Counter("s"), Failure: root.Counter("f"), Empty: root.Counter("e")}
	updates, first = make(chan update, 100), make(chan struct{})
	cfg.Resolver, cfg.Log, cfg.Stats = f, log.Discard(), s
	cfg.Update = func(name string, addrs []netip.Addr) { updates <- update{name, addrs[0].String()} }
	cfg.First = func() { close(first) }
	return Start(cfg), updates, first, s
}

func TestWatchRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set("ip4 web", nil, "10.0.0.1")
		f.set("ip4 db", nil, "10.0.0.9")
		w, updates, first, s := watch(f, Config{Names: []string{"web", "db"}, Family: model.DNSV4Only, Refresh: time.Minute})
		defer w.Close()
		<-first
		if len(updates) != 2 {
			t.Fatalf("%d updates at first, want 2", len(updates))
		}
		<-updates
		<-updates
		f.set("ip4 web", nil, "10.0.0.2")
		f.set("ip4 db", nil)
		start := time.Now()
		if got, want := <-updates, (update{"web", "10.0.0.2"}); got != want {
			t.Errorf("update %v, want %v", got, want)
		}
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("refreshed after %v, want 1m", waited)
		}
		synctest.Wait()
		if len(updates) != 0 {
			t.Errorf("a name without addresses was reported: %v", <-updates)
		}
		if s.Attempt.Value() != 4 || s.Success.Value() != 4 || s.Empty.Value() != 1 || s.Failure.Value() != 0 {
			t.Errorf("attempts %d, successes %d, empty %d, failures %d", s.Attempt.Value(), s.Success.Value(), s.Empty.Value(), s.Failure.Value())
		}
	})
}

func TestWatchBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set("", errors.New("server failure"))
		w, updates, first, s := watch(f, Config{Names: []string{"web"}, Family: model.DNSV4Only, Refresh: time.Hour, FailureRefresh: time.Second})
		<-first // a failure counts as an answer
		time.Sleep(time.Minute)
		synctest.Wait()
		w.Close()
		if len(updates) != 0 {
			t.Errorf("failures were reported: %v", <-updates)
		}
		if n := s.Failure.Value(); n != uint64(len(f.asked)) || n < 6 || n > 60 {
			t.Errorf("%d failures of %d lookups in a minute", n, len(f.asked))
		}
		for i := 1; i < len(f.asked); i++ {
			if gap := f.asked[i].Sub(f.asked[i-1]); gap < time.Second/2 || gap > 11*time.Second {
				t.Errorf("gap %d is %v", i, gap)
			}
		}
	})
}

func TestWatchWithoutBackoffKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w, _, first, _ := watch(f, Config{Names: []string{"web"}, Family: model.DNSV4Only})
		<-first
		time.Sleep(26 * time.Second)
		w.Close()
		if len(f.asked) != 6 { // at 0, 5, ... 25 s
			t.Errorf("%d lookups in 26 s, want 6", len(f.asked))
		}
	})
}

// slow does not answer until it is given up.
type slow struct{}

func (slow) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestCloseEndsALookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := stats.NewStore().Root()
		w := Start(Config{
			Names: []string{"web"}, Resolver: slow{}, Log: log.Discard(),
			Stats: Stats{Attempt: root.Counter("a"), Success: root.Counter("s"), Failure: root.Counter("f"), Empty: root.Counter("e")},
			First: func() { t.Error("a lookup that was given up counts as done") },
		})
		synctest.Wait()
		start := time.Now()
		w.Close()
		if d := time.Since(start); d != 0 {
			t.Errorf("close took %v", d)
		}
	})
}
