package listener

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/chain"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	tlsctx "github.com/weir-proxy/weir/pkg/proxy/tls"
)

// active is one version of a configured listener, immutable once it is in use but for what says otherwise.
type active struct {
	cfg     *model.Listener
	table   *chain.Table
	chains  map[*model.FilterChain]*runtime
	filters []filter.Listener
	// discovered are those of the filters that ECDS configures, by index.
	discovered map[int]*discoveredListener
	stats      *listenerStats
	sockets    []*socket    // Manager.mu guards it
	closed     bool         // its sockets were closed for good; Manager.mu guards it
	conns      atomic.Int64 // being served
	retired    atomic.Bool  // another version took its place
}

// runtime is what serves the connections of a filter chain. It outlives a listener's version when the next one has a
// chain of the same name and hash.
type runtime struct {
	cfg    *model.FilterChain
	filter filter.Network // nil when the chain has no filters, or a discovered one
	// discovered is the filter of a chain that ECDS configures, nil for others.
	discovered *discoveredNetwork[filter.Network]
	// before are the filters in front of it; nil for most chains.
	before []*nonTerminal
	tls    *tlsctx.Server // nil for plain text
	scope  *stats.Scope

	// Manager.connMu guards what follows.
	conns    int
	draining bool
	kill     timer.Timer // ends what still runs when the drain time is over
}

// withStats is implemented by listener filters that have statistics.
type withStats interface {
	WithStats(root *stats.Scope) filter.Listener
}

// build makes the next version of a listener without touching the present one, was, which may be nil.
func (m *Manager) build(cfg *model.Listener, was *active) (*active, error) {
	a := &active{cfg: cfg, chains: map[*model.FilterChain]*runtime{}}
	table, err := chain.Compile(cfg.FilterChains, cfg.DefaultFilterChain)
	if err != nil {
		return nil, err
	}
	a.table = table
	if err := m.listenerFilters(a); err != nil {
		return nil, err
	}
	kept := reusable(was, cfg)
	for i, fc := range allChains(cfg) {
		r := kept[chainKey{fc.Name, fc.Hash, fc == cfg.DefaultFilterChain}]
		if r == nil {
			if r, err = m.newRuntime(cfg, fc); err != nil {
				a.discard(kept)
				return nil, fmt.Errorf("filter chain %d (%q): %w", i, fc.Name, err)
			}
		}
		a.chains[fc] = r
	}
	a.stats = newListenerStats(m.opts.Stats, StatPrefix(cfg))
	return a, nil
}

type chainKey struct {
	name      string
	hash      uint64
	isDefault bool
}

// reusable are the chains that the next version may go on with: none when something beside the chains changed, as in
// Envoy, where such an update drains the whole listener.
func reusable(was *active, next *model.Listener) map[chainKey]*runtime {
	if was == nil || !sameBesideChains(was.cfg, next) {
		return nil
	}
	out := map[chainKey]*runtime{}
	for fc, r := range was.chains {
		out[chainKey{fc.Name, fc.Hash, fc == was.cfg.DefaultFilterChain}] = r
	}
	return out
}

func sameBesideChains(a, b *model.Listener) bool {
	x, y := *a, *b
	for _, l := range []*model.Listener{&x, &y} {
		l.FilterChains, l.DefaultFilterChain, l.Resource, l.Message = nil, nil, model.Resource{}, nil
	}
	return reflect.DeepEqual(x, y)
}

func allChains(cfg *model.Listener) []*model.FilterChain {
	all := cfg.FilterChains[:len(cfg.FilterChains):len(cfg.FilterChains)]
	if cfg.DefaultFilterChain != nil {
		all = append(all, cfg.DefaultFilterChain)
	}
	return all
}

func (m *Manager) newRuntime(cfg *model.Listener, fc *model.FilterChain) (*runtime, error) {
	r := &runtime{cfg: fc}
	if n := len(fc.Filters); n > 0 {
		var err error
		if r.before, err = m.nonTerminals(fc.Filters[:n-1]); err != nil {
			return nil, err
		}
		last := fc.Filters[n-1]
		build := func(f *model.NetworkFilter) (filter.Network, error) { return m.opts.NewFilter(cfg, fc, f) }
		if last.Discovery != nil {
			r.discovered, err = discover(m, last, build)
		} else {
			r.filter, err = build(last)
		}
		if err != nil {
			closeNonTerminals(r.before)
			return nil, fmt.Errorf("network filter %s: %w", last.Name, err)
		}
	}
	r.scope = m.opts.Stats.Scope("listener." + StatPrefix(cfg))
	if fc.TLS != nil {
		r.tls = tlsctx.NewServer(fc.TLS, m.opts.Secrets, r.scope)
	}
	return r, nil
}

// discard closes the chains of a version that is not going to be used, without those that belong to the present one.
func (a *active) discard(kept map[chainKey]*runtime) {
	inUse := map[*runtime]bool{}
	for _, r := range kept {
		inUse[r] = true
	}
	for _, r := range a.chains {
		if !inUse[r] {
			r.close()
		}
	}
	if a.stats != nil {
		a.stats.scope.Close()
	}
}

// close releases what the chain holds, after its last connection.
func (r *runtime) close() {
	closeFilter(r.filter)
	if r.discovered != nil {
		_ = r.discovered.Close() // never fails
	}
	closeNonTerminals(r.before)
	r.scope.Close()
}

// StatPrefix is what stands for a listener in statistic names, listener.<StatPrefix>; the stats package replaces what names may
// not hold.
func StatPrefix(cfg *model.Listener) string {
	switch {
	case cfg.StatPrefix != "":
		return cfg.StatPrefix
	case cfg.Pipe != "":
		return cfg.Pipe
	}
	return cfg.Address.String()
}

// addresses are all TCP addresses of the listener.
func addresses(cfg *model.Listener) []netip.AddrPort {
	var out []netip.AddrPort
	if cfg.Pipe == "" {
		out = append(out, cfg.Address)
	}
	return append(out, cfg.AdditionalAddresses...)
}

func (a *active) status(draining bool) Status {
	s := Status{Name: a.cfg.Name, Config: a.cfg, Draining: draining, Bound: len(a.sockets) > 0, Connections: int(a.conns.Load())}
	for _, sock := range a.sockets {
		s.Addresses = append(s.Addresses, sock.address())
	}
	if len(a.sockets) == 0 {
		for _, addr := range addresses(a.cfg) {
			s.Addresses = append(s.Addresses, addr.String())
		}
		if a.cfg.Pipe != "" {
			s.Addresses = append(s.Addresses, a.cfg.Pipe)
		}
	}
	return s
}
