// Package router compiles route configurations into tables that are asked once per request, and applies what a route
// says about messages: header mutations, rewrites and redirects.
//
// It owns matching and message changes. It must not know connections, codecs or clusters. A Table is immutable and may be
// used by any number of goroutines; Match allocates nothing.
package router

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Options is what tables need from their surroundings; the zero value is fine.
type Options struct {
	// Runtime answers the runtime keys of fractions and weights; nil knows none.
	Runtime *model.Runtime
	// Stats is the root scope, below which virtual clusters and routes with a stat_prefix count; nil counts nothing.
	Stats *stats.Scope
	// ServiceCluster is the name of the cluster that this proxy belongs to, for rate limit descriptors.
	ServiceCluster string
	// Hosts gives the virtual hosts that VHDS has delivered so far; nil when the configuration has none but its own.
	Hosts func() *model.HostSet
	// Faulty is told of virtual hosts of VHDS that cannot be used; nil is not.
	Faulty func(error)
}

// Table is a compiled route configuration.
type Table struct {
	config  *model.RouteConfig
	opt     Options
	scopes  []*stats.Scope // what Close gives up
	exact   map[string]*host
	suffix  []wildcards // longest first
	prefix  []wildcards // longest first
	any     *host
	headers mutations
	dynamic *dynamic // nil without VHDS
}

// wildcards are the domains of one kind whose fixed part has the same length.
type wildcards struct {
	length int
	hosts  map[string]*host
}

// host is a compiled virtual host.
type host struct {
	config *model.VirtualHost
	routes index
	// tree chooses among lists in place of routes; nil without a matcher.
	tree  *matcher.Tree
	lists map[*model.RouteList]*index
	// runtime answers the keys that the tree asks for.
	runtime *model.Runtime
	headers mutations
	virtual []virtualCluster
	toHTTPS *entry // answers when RequireTLS is not met
}

// Compile builds the table of a configuration. All faults are reported, each with the virtual host and the route. Close
// releases it.
func Compile(c *model.RouteConfig, opt Options) (*Table, error) {
	t := &Table{config: c, opt: opt, exact: make(map[string]*host)}
	var errs []error
	var err error
	if t.headers, err = compileMutations(&c.Headers); err != nil {
		errs = append(errs, err)
	}
	suffix, prefix := map[int]map[string]*host{}, map[int]map[string]*host{}
	for _, v := range c.VirtualHosts {
		h, err := t.compileHost(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("virtual host %q: %w", v.Name, err))
		}
		for _, d := range v.Domains {
			if err := t.addDomain(strings.ToLower(d), h, suffix, prefix); err != nil {
				errs = append(errs, fmt.Errorf("virtual host %q: %w", v.Name, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Close()
		return nil, fmt.Errorf("compile route configuration %q: %w", c.Name, err)
	}
	t.suffix, t.prefix = longestFirst(suffix), longestFirst(prefix)
	if opt.Hosts != nil {
		t.dynamic = &dynamic{t: t, set: opt.Hosts, limit: firstSweep}
	}
	return t, nil
}

// Config is what the table was compiled from.
func (t *Table) Config() *model.RouteConfig { return t.config }

func (t *Table) compileHost(v *model.VirtualHost) (*host, error) {
	h := &host{config: v, runtime: t.opt.Runtime, virtual: t.compileVirtualClusters(v)}
	var errs []error
	var err error
	if h.headers, err = compileMutations(&v.Headers); err != nil {
		errs = append(errs, err)
	}
	if h.routes, err = t.compileRoutes(h, v.Routes); err != nil {
		errs = append(errs, err)
	}
	if v.Matcher != nil {
		if err := t.compileTree(h); err != nil {
			errs = append(errs, fmt.Errorf("matcher: %w", err))
		}
	}
	if v.RequireTLS != model.TLSNone {
		h.toHTTPS = &entry{table: t, host: h, route: &model.Route{Redirect: &model.Redirect{Code: 301, HTTPS: true}}}
	}
	return h, errors.Join(errs...)
}

// compileRoutes builds the index of a list of routes.
func (t *Table) compileRoutes(h *host, routes []*model.Route) (index, error) {
	var entries []*entry
	var errs []error
	for i, r := range routes {
		e, err := compileEntry(t, h, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("route %d %q: %w", i, r.Name, err))
			continue
		}
		entries = append(entries, e)
	}
	if err := errors.Join(errs...); err != nil {
		return index{}, err
	}
	return newIndex(entries), nil
}

func (t *Table) addDomain(d string, h *host, suffix, prefix map[int]map[string]*host) error {
	switch {
	case d == "":
		return errors.New("domain is empty")
	case d == "*":
		if t.any != nil {
			return errors.New(`domain "*" is there twice`)
		}
		t.any = h
		return nil
	case d[0] == '*':
		return addWildcard(suffix, d[1:], d, h)
	case d[len(d)-1] == '*':
		return addWildcard(prefix, d[:len(d)-1], d, h)
	}
	if t.exact[d] != nil {
		return fmt.Errorf("domain %q is there twice", d)
	}
	t.exact[d] = h
	return nil
}

func addWildcard(to map[int]map[string]*host, fixed, domain string, h *host) error {
	m := to[len(fixed)]
	if m == nil {
		m = make(map[string]*host)
		to[len(fixed)] = m
	}
	if m[fixed] != nil {
		return fmt.Errorf("domain %q is there twice", domain)
	}
	m[fixed] = h
	return nil
}

func longestFirst(m map[int]map[string]*host) []wildcards {
	var out []wildcards
	for n, hosts := range m {
		out = append(out, wildcards{n, hosts})
	}
	slices.SortFunc(out, func(a, b wildcards) int { return cmp.Compare(b.length, a.length) })
	return out
}

// Match finds the route of a request; its Route is nil when there is none. info is what else is known of the stream, nil when
// nothing is. random decides fractions and weighted splits.
func (t *Table) Match(r *message.Request, info *streaminfo.Info, random uint64) filter.Route {
	return t.MatchTraced(r, info, random, nil)
}

// MatchTraced is Match that tells trace, when it is not nil, how the matcher tree of a virtual host decided.
func (t *Table) MatchTraced(r *message.Request, info *streaminfo.Info, random uint64, trace func(string)) filter.Route {
	out := filter.Route{Config: t.config}
	h := t.find(r.Authority)
	if h == nil {
		return out
	}
	out.VirtualHost = h.config
	if h.toHTTPS != nil && needsTLS(h.config.RequireTLS, r) {
		out.Route, out.Rules = h.toHTTPS.route, h.toHTTPS
		return out
	}
	q := t.ask(r, info, random)
	routes := &h.routes
	if h.tree != nil {
		routes = h.fromTree(r, info, trace)
	}
	if e := routes.find(&q); e != nil {
		e.choose(&q, &out)
	}
	return out
}

func needsTLS(rule model.RequireTLS, r *message.Request) bool {
	if r.Headers.Get(message.XForwardedProto) == "https" {
		return false
	}
	return rule == model.TLSAll || r.Headers.Get(message.XEnvoyInternal) != "true"
}

// maxHost bounds a host name that is lowered without allocating; longer ones are not names that can be configured.
const maxHost = 512

// find is host, with what VHDS delivered.
func (t *Table) find(authority string) *host {
	if t.dynamic != nil {
		return t.dynamic.host(authority)
	}
	return t.host(authority)
}

// host finds the virtual host of an authority among the table's own: exact, then the longest suffix, the longest prefix, then "*".
func (t *Table) host(authority string) *host {
	if len(t.exact) == 0 && len(t.suffix) == 0 && len(t.prefix) == 0 {
		return t.any
	}
	if authority == "" {
		return nil
	}
	if t.config.IgnorePortInHost {
		authority = WithoutPort(authority)
	}
	for i := range len(authority) {
		if c := authority[i]; 'A' <= c && c <= 'Z' {
			return t.hostFold(authority)
		}
	}
	return t.hostOf(authority)
}

// hostFold is hostOf for a name with capital letters.
func (t *Table) hostFold(authority string) *host {
	if len(authority) > maxHost {
		return t.any
	}
	var buf [maxHost]byte
	name := append(buf[:0], authority...)
	for i, c := range name {
		name[i] = lowerByte(c)
	}
	if h := t.exact[string(name)]; h != nil {
		return h
	}
	if len(t.suffix) == 0 && len(t.prefix) == 0 {
		return t.any
	}
	return wildcard(t, name)
}

// wildcard finds the virtual host of a lower-case name by its end or its beginning.
func wildcard[T string | []byte](t *Table, name T) *host {
	for i := range t.suffix {
		if n := t.suffix[i].length; n < len(name) { // the wildcard stands for one character at least
			if h := t.suffix[i].hosts[string(name[len(name)-n:])]; h != nil {
				return h
			}
		}
	}
	for i := range t.prefix {
		if n := t.prefix[i].length; n < len(name) {
			if h := t.prefix[i].hosts[string(name[:n])]; h != nil {
				return h
			}
		}
	}
	return t.any
}

func (t *Table) hostOf(name string) *host {
	if h := t.exact[name]; h != nil {
		return h
	}
	if len(t.suffix) == 0 && len(t.prefix) == 0 {
		return t.any
	}
	return wildcard(t, name)
}

// WithoutPort removes the port of an authority, if it has one.
func WithoutPort(authority string) string {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[i:], ']') >= 0 {
		return authority
	}
	if i > 0 && authority[0] != '[' && strings.IndexByte(authority[:i], ':') >= 0 {
		return authority // an IPv6 address without brackets
	}
	for _, c := range []byte(authority[i+1:]) {
		if c < '0' || '9' < c {
			return authority
		}
	}
	return authority[:i]
}
