package lb

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

func local(port int, change ...func(*upstream.Host)) *upstream.Host {
	h := upstream.NewHost(netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", port)))
	for _, c := range change {
		c(h)
	}
	return h
}

func named(name string) func(*upstream.Host) { return func(h *upstream.Host) { h.Hostname = name } }

func hashKeyed(key any) func(*upstream.Host) {
	return func(h *upstream.Host) {
		h.Endpoint = &model.Endpoint{Metadata: map[string]map[string]any{"envoy.lb": {"hash_key": key}}}
	}
}

// six hosts on 127.0.0.1, from a port on.
func six(from int, change func(port int) func(*upstream.Host)) []*upstream.Host {
	var hosts []*upstream.Host
	for port := from; port < from+6; port++ {
		hosts = append(hosts, local(port, change(port)))
	}
	return hosts
}

func unchanged(int) func(*upstream.Host)      { return func(*upstream.Host) {} }
func byName(port int) func(*upstream.Host)    { return named(fmt.Sprint(port)) }
func byHashKey(port int) func(*upstream.Host) { return hashKeyed(fmt.Sprint(port)) }
func ringOf(size int) Options {
	return Options{Policy: model.LBRingHash, Hash: model.HashBalancer{MinRing: size, MaxRing: 8 << 20}}
}

func maglevOf(size int) Options {
	return Options{Policy: model.LBMaglev, Hash: model.HashBalancer{TableSize: size}}
}
func change(o Options, f func(*Options)) Options { f(&o); return o }

// at is an entry of a ring: the port of its host and its place.
type at struct {
	port uint16
	hash uint64
}

// The rings are those that Envoy's own tests document.
func TestRing(t *testing.T) {
	byXX := []at{
		{94, 833437586790550860},
		{92, 928266305478181108},
		{90, 1033482794131418490},
		{95, 3551244743356806947},
		{93, 3851675632748031481},
		{91, 5583722120771150861},
		{91, 6311230543546372928},
		{93, 7700377290971790572},
		{95, 13144177310400110813},
		{92, 13444792449719432967},
		{94, 15516499411664133160},
		{90, 16117243373044804889},
	}
	byNames := []at{
		{95, 1975508444536362413},
		{95, 2376063919839173711},
		{93, 2386806903309390596},
		{94, 6749904478991551885},
		{93, 6803900775736438537},
		{92, 7225015537174310577},
		{90, 8787465352164086522},
		{92, 11282020843382717940},
		{91, 13723418369486627818},
		{90, 13776502110861797421},
		{91, 14338313586354474791},
		{94, 15364271037087512980},
	}
	near, far, closed := &model.Locality{Zone: "near", Weight: 1}, &model.Locality{Zone: "far", Weight: 2}, &model.Locality{Zone: "closed"}
	tests := []struct {
		name  string
		opt   Options
		hosts []*upstream.Host
		want  []at
	}{
		{"addresses", ringOf(12), six(90, unchanged), byXX},
		{"host names", change(ringOf(12), func(o *Options) { o.Hash.UseHostname = true }), six(90, byName), byNames},
		{"hash keys", ringOf(12), six(90, byHashKey), byNames},
		{"a hash key that is no string", ringOf(12), six(90, func(int) func(*upstream.Host) { return hashKeyed(1.0) }), byXX},
		{"murmur", change(ringOf(12), func(o *Options) { o.Hash.Murmur = true }), six(80, unchanged), []at{
			{85, 1358027074129602068},
			{83, 4361834613929391114},
			{84, 7224494972555149682},
			{81, 7701421856454313576},
			{82, 8649315368077433379},
			{84, 8739448859063030639},
			{81, 9887544217113020895},
			{82, 10150910876324007731},
			{83, 15168472011420622455},
			{80, 15427156902705414897},
			{85, 16375050414328759093},
			{80, 17613279263364193813},
		}},
		{"rounded up", ringOf(3), []*upstream.Host{local(80), local(81)}, []at{
			{80, 5454692015285649509}, {81, 7859399908942313493}, {80, 13838424394637650569}, {81, 16064866803292627174},
		}},
		{
			"weights", change(ringOf(6), func(o *Options) { o.Hash.MaxRing = 6 }),
			[]*upstream.Host{local(90, weight(1)), local(91, weight(2)), local(92, weight(3))},
			[]at{
				{92, 928266305478181108},
				{92, 4443673547860492590},
				{91, 5583722120771150861},
				{91, 6311230543546372928},
				{92, 13444792449719432967},
				{90, 16117243373044804889},
			},
		},
		{
			"localities", change(ringOf(3), func(o *Options) { o.Hash.MaxRing, o.LocalityWeighted = 3, true }),
			[]*upstream.Host{local(90, in(near)), local(91, in(far)), local(93, in(closed))},
			[]at{{91, 5583722120771150861}, {91, 6311230543546372928}, {90, 16117243373044804889}},
		},
		{
			"unhealthy hosts are left out", change(ringOf(2), func(o *Options) { o.PanicThreshold = 10 }),
			[]*upstream.Host{local(90, health(model.HealthUnhealthy)), local(80)},
			[]at{{80, 5454692015285649509}, {80, 13838424394637650569}},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := New(tc.hosts, tc.opt)
			var got []at
			for _, e := range s.priorities[0].hasher.(*ring).entries {
				got = append(got, at{e.host.Address.Port(), e.hash})
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(at{})); diff != "" {
				t.Fatal(diff)
			}
			for i, want := range tc.want {
				before := tc.want[(i+1)%len(tc.want)].port // who has the hash just after an entry
				for hash, port := range map[uint64]uint16{want.hash: want.port, want.hash + 1: before} {
					if h, _ := s.Pick(&upstream.PickContext{Hash: hash, HasHash: true}); h.Address.Port() != port {
						t.Errorf("hash %d went to %v, want port %d", hash, h.Name(), port)
					}
				}
			}
		})
	}
}

func TestRingOfManyHosts(t *testing.T) {
	s := New([]*upstream.Host{local(90, weight(1)), local(91, weight(2)), local(92, weight(3))}, ringOf(6144))
	if diff := cmp.Diff(HashShape{Size: 6144, Least: 1024, Most: 3072}, s.Shape()); diff != "" {
		t.Error(diff)
	}
	count := map[uint16]int{}
	for i := range uint64(6000) {
		h, _ := s.Pick(&upstream.PickContext{Hash: i * (math.MaxUint64 / 6000), HasHash: true})
		count[h.Address.Port()]++
	}
	if diff := cmp.Diff(map[uint16]int{90: 987, 91: 1932, 92: 3081}, count); diff != "" {
		t.Error(diff)
	}
}

// The tables are those that Envoy's own tests document.
func TestMaglev(t *testing.T) {
	a, b := &model.Locality{Zone: "A", Weight: 1}, &model.Locality{Zone: "B", Weight: 1}
	eight, none, two := &model.Locality{Zone: "A", Weight: 8}, &model.Locality{Zone: "B"}, &model.Locality{Zone: "C", Weight: 2}
	localities := func(o *Options) { o.LocalityWeighted = true }
	tests := []struct {
		name  string
		opt   Options
		hosts []*upstream.Host
		want  []uint16
		shape HashShape
	}{
		{"addresses", maglevOf(7), six(90, unchanged), []uint16{92, 94, 90, 91, 95, 90, 93}, HashShape{7, 1, 2}},
		{"order does not matter", maglevOf(7), reversed(six(90, unchanged)), []uint16{92, 94, 90, 91, 95, 90, 93}, HashShape{7, 1, 2}},
		{"host names", change(maglevOf(7), func(o *Options) { o.Hash.UseHostname = true }), six(90, byName), []uint16{92, 95, 90, 93, 94, 91, 90}, HashShape{7, 1, 2}},
		{
			"weights", maglevOf(17),
			[]*upstream.Host{local(90, weight(1)), local(91, weight(2))},
			[]uint16{91, 90, 90, 91, 90, 91, 91, 90, 91, 91, 91, 91, 91, 90, 91, 90, 91},
			HashShape{17, 6, 11},
		},
		{
			"equal localities", change(maglevOf(17), localities),
			[]*upstream.Host{local(90, in(a), weight(1)), local(91, in(b), weight(2))},
			[]uint16{91, 90, 90, 91, 90, 91, 91, 90, 90, 91, 90, 91, 90, 90, 91, 90, 91},
			HashShape{17, 8, 9},
		},
		{
			"weighted localities", change(maglevOf(17), localities),
			[]*upstream.Host{local(90, in(eight), weight(1)), local(91, in(two), weight(2)), local(92, in(none), weight(3))},
			[]uint16{91, 90, 90, 90, 90, 90, 91, 90, 90, 91, 90, 91, 90, 90, 90, 90, 90},
			HashShape{17, 4, 13},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := New(tc.hosts, tc.opt)
			var got []uint16
			for i := range tc.want {
				h, _ := s.Pick(&upstream.PickContext{Hash: uint64(i), HasHash: true})
				got = append(got, h.Address.Port())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.shape, s.Shape()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func reversed(hosts []*upstream.Host) []*upstream.Host { slices.Reverse(hosts); return hosts }

// TestHashAgain checks which host a retry gets that avoids those before, as Envoy's tests document it.
func TestHashAgain(t *testing.T) {
	hosts := six(90, unchanged)
	tests := []struct {
		name     string
		opt      Options
		hash     uint64
		tried    []*upstream.Host
		attempts int
		want     uint16
	}{
		{"ring: the host was not tried", ringOf(12), 0, nil, 2, 94},
		{"ring: the next one", ringOf(12), 0, hosts[4:5], 2, 92},
		{"ring: the last one when all were tried", ringOf(12), 0, hosts, 2, 90},
		{"ring: around", ringOf(12), 0, hosts, 13, 92},
		{"maglev: the host was not tried", maglevOf(7), 10, nil, 2, 91},
		{"maglev: another one", maglevOf(7), 10, hosts[1:2], 2, 90},
		{"maglev: the last one when all were tried", maglevOf(7), 10, hosts, 2, 95},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := New(hosts, tc.opt)
			h, _ := s.Pick(&upstream.PickContext{Hash: tc.hash, HasHash: true, Tried: tc.tried, AvoidTried: true, Attempts: tc.attempts})
			if h.Address.Port() != tc.want {
				t.Errorf("%v, want port %d", h.Name(), tc.want)
			}
		})
	}
}

// TestOmit passes over hosts that a predicate names, with any balancer.
func TestOmit(t *testing.T) {
	hosts := six(90, unchanged)
	for name, opt := range map[string]Options{"round robin": {}, "random": {Policy: model.LBRandom, Rand: seeded()}, "ring": ringOf(12), "maglev": maglevOf(65537)} {
		s := New(slices.Clone(hosts), opt)
		asked := 0
		for hash := range uint64(200) {
			pc := &upstream.PickContext{Hash: hash << 56, HasHash: true, Attempts: 60, Omit: func(h *upstream.Host) bool {
				asked++
				return h.Address.Port()%2 == 0
			}}
			if h, _ := s.Pick(pc); h.Address.Port()%2 == 0 {
				t.Errorf("%s: chose %v", name, h.Name())
			}
		}
		if asked == 0 {
			t.Errorf("%s: nobody was asked", name)
		}
	}
	if h, _ := New(hosts, ringOf(12)).Pick(&upstream.PickContext{HasHash: true, Attempts: 2, Omit: func(*upstream.Host) bool { return true }}); h != hosts[0] {
		t.Errorf("chose %v, want the last one", h.Name())
	}
}

func TestHashWithoutHosts(t *testing.T) {
	closed := &model.Locality{Zone: "closed"}
	for name, hosts := range map[string][]*upstream.Host{
		"none": nil, "all unhealthy": {local(80, health(model.HealthUnhealthy))}, "no locality has weight": {local(80, in(closed))},
	} {
		for _, o := range []Options{ringOf(12), maglevOf(7)} {
			o.LocalityWeighted = true
			if h, panicked := New(hosts, o).Pick(&upstream.PickContext{Hash: 1, HasHash: true}); h != nil || panicked {
				t.Errorf("%s: %v, %v", name, h, panicked)
			}
		}
	}
}

func TestHashInPanic(t *testing.T) {
	s := New(six(90, func(port int) func(*upstream.Host) {
		if port < 95 {
			return health(model.HealthUnhealthy)
		}
		return unchanged(port)
	}), change(ringOf(12), func(o *Options) { o.PanicThreshold = 50 }))
	if h, panicked := s.Pick(&upstream.PickContext{HasHash: true}); h.Address.Port() != 94 || !panicked {
		t.Errorf("%v, %v; want what all hosts together give", h.Name(), panicked)
	}
}

func TestWithoutHashHostsAreRandom(t *testing.T) {
	hosts := six(90, unchanged)
	for i, share := range shares(t, New(hosts, change(maglevOf(65537), func(o *Options) { o.Rand = seeded() })), hosts, 60000) {
		if math.Abs(share-100.0/6) > 1 {
			t.Errorf("host %d has %.1f%%", i, share)
		}
	}
}

func TestBoundedLoad(t *testing.T) {
	hosts := six(90, unchanged)
	total := uint64(0)
	opt := change(ringOf(1024), func(o *Options) { o.Hash.BalanceFactor, o.Active = 150, func() uint64 { return total } })
	s := New(hosts, opt)
	pc := &upstream.PickContext{Hash: 42, HasHash: true}
	first, _ := s.Pick(pc)
	var order []*upstream.Host
	for range 60 { // all requests of one hash stay under way
		h, _ := s.Pick(pc)
		h.Stats.RqActive.Add(1)
		total++
		if !slices.Contains(order, h) {
			order = append(order, h)
		}
	}
	if order[0] != first || len(order) < 4 { // four times 150% of a sixth is the whole
		t.Errorf("%d hosts were used, first %v; want at least 4, first %v", len(order), order[0].Name(), first.Name())
	}
	for _, h := range hosts {
		if n := h.Stats.RqActive.Load(); n > 17 { // 150% of a sixth of 61, rounded up, and the one that is let through at the bound
			t.Errorf("%v has %d requests", h.Name(), n)
		}
	}
	again := New(hosts, opt)
	for _, h := range hosts {
		h.Stats.RqActive.Store(10)
	}
	first.Stats.RqActive.Store(100)
	a, _ := s.Pick(pc)
	b, _ := again.Pick(pc)
	if a != b || a == first {
		t.Errorf("the overload of %v went to %v and %v", first.Name(), a.Name(), b.Name())
	}
}

// The numbers are those of the C++ standard (the 10000th of the default seed) and of the reference implementation.
func TestMersenneTwister(t *testing.T) {
	var m mt19937
	m.seed(5489)
	var got []uint32
	for i := range 10000 {
		if n := m.next(); i < 3 || i == 9999 {
			got = append(got, n)
		}
	}
	if diff := cmp.Diff([]uint32{3499211612, 581869302, 3890346734, 4123659995}, got); diff != "" {
		t.Error(diff)
	}
}

func TestHashDoesNotAllocate(t *testing.T) {
	hosts := six(90, unchanged)
	for name, opt := range map[string]Options{
		"ring": ringOf(1024), "maglev": maglevOf(65537),
		"bounded": change(ringOf(1024), func(o *Options) { o.Hash.BalanceFactor, o.Active = 150, func() uint64 { return 6 } }),
	} {
		s := New(hosts, opt)
		hash := uint64(0)
		if n := testing.AllocsPerRun(100, func() { s.Pick(&upstream.PickContext{Hash: hash, HasHash: true}); hash += 1 << 58 }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestAvoidPriorities(t *testing.T) {
	hosts := []*upstream.Host{host(1), host(2, prio(1)), host(3, prio(2), health(model.HealthUnhealthy)), host(4, prio(3))}
	s := New(hosts, Options{Rand: seeded()})
	tests := []struct {
		name  string
		avoid uint64
		want  *upstream.Host
	}{
		{"none", 0, hosts[0]},
		{"the first", 1 << 0, hosts[1]},
		{"the first two, and the third has nobody", 1<<0 | 1<<1, hosts[3]},
		{"another one", 1 << 1, hosts[0]},
		{"all", 1<<0 | 1<<1 | 1<<2 | 1<<3, hosts[0]},
	}
	for _, tc := range tests {
		if got, _ := s.Pick(&upstream.PickContext{AvoidPriorities: tc.avoid}); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got.Name(), tc.want.Name())
		}
	}
}

func TestFullScan(t *testing.T) {
	hosts := []*upstream.Host{host(1), host(2), host(3), host(4)}
	for i, n := range []int64{3, 1, 2, 1} {
		hosts[i].Stats.RqActive.Store(n)
	}
	s := New(hosts, Options{Policy: model.LBLeastRequest, LeastRequest: model.LeastRequest{ChoiceCount: 2, FullScan: true}, Rand: seeded()})
	got := shares(t, s, hosts, 10000)
	if got[0]+got[2] != 0 || math.Abs(got[1]-50) > 3 {
		t.Errorf("shares %v, want half for each of the least loaded", got)
	}
}

func TestFailOnPanic(t *testing.T) {
	hosts := []*upstream.Host{host(1), host(2, health(model.HealthUnhealthy)), host(3, health(model.HealthUnhealthy))}
	if h, panicked := New(hosts, Options{PanicThreshold: 50, FailOnPanic: true}).Pick(&upstream.PickContext{}); h != nil || !panicked {
		t.Errorf("%v, %v; want nobody in panic", h, panicked)
	}
	if h, _ := New(hosts, Options{PanicThreshold: 10, FailOnPanic: true}).Pick(&upstream.PickContext{}); h != hosts[0] {
		t.Errorf("%v without panic", h)
	}
}

func BenchmarkNew(b *testing.B) {
	var hosts []*upstream.Host
	for i := range 1000 {
		hosts = append(hosts, host(i))
	}
	for name, opt := range map[string]Options{"ring": ringOf(1024), "maglev": maglevOf(65537)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				New(hosts, opt)
			}
		})
	}
}
