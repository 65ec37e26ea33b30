package router

import (
	"fmt"
	"strings"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// dynamic adds the virtual hosts of VHDS to a table. Each is compiled when a request first needs it, so that one more costs
// the others nothing.
type dynamic struct {
	t *Table
	// set gives the current virtual hosts.
	set func() *model.HostSet

	// hosts holds a *dynamicHost for each *model.VirtualHost that was needed.
	hosts sync.Map
	mu    sync.Mutex // serialises compiling
	held  int        // number of hosts; guarded by mu
	limit int        // of hosts before those that are out of date are dropped; guarded by mu
}

// dynamicHost is a compiled virtual host; the table is one of its own, for its statistics.
type dynamicHost struct {
	table *Table
	host  *host // nil when it does not compile
}

// firstSweep is how many virtual hosts are kept before it is worth looking for those that are out of date.
const firstSweep = 64

// host is Table.host over the table's own virtual hosts and those of VHDS together, as if they were one list.
func (d *dynamic) host(authority string) *host {
	set := d.set()
	if set == nil {
		return d.t.host(authority)
	}
	name := authority
	if d.t.config.IgnorePortInHost {
		name = WithoutPort(name)
	}
	name = strings.ToLower(name) // makes a copy only where there are capital letters
	if h := d.t.exact[name]; h != nil {
		return h
	}
	if v := set.Exact.Get(name); v != nil {
		return d.compiled(v)
	}
	if h := d.wild(name, d.t.suffix, set.Suffix, func(n int) string { return name[len(name)-n:] }); h != nil {
		return h
	}
	if h := d.wild(name, d.t.prefix, set.Prefix, func(n int) string { return name[:n] }); h != nil {
		return h
	}
	if d.t.any != nil {
		return d.t.any
	}
	if set.Any != nil {
		return d.compiled(set.Any)
	}
	return nil
}

// wild finds the longest wildcard of two lists; fixed cuts the part of the name that a wildcard of length n compares.
func (d *dynamic) wild(name string, own []wildcards, more []model.WildcardHosts, fixed func(n int) string) *host {
	for len(own) > 0 || len(more) > 0 {
		if len(more) == 0 || len(own) > 0 && own[0].length >= more[0].Length {
			if n := own[0].length; n < len(name) { // the wildcard stands for one character at least
				if h := own[0].hosts[fixed(n)]; h != nil {
					return h
				}
			}
			own = own[1:]
			continue
		}
		if n := more[0].Length; n < len(name) {
			if v := more[0].Hosts.Get(fixed(n)); v != nil {
				return d.compiled(v)
			}
		}
		more = more[1:]
	}
	return nil
}

// compiled is the compiled form of a virtual host; nil when it does not compile.
func (d *dynamic) compiled(v *model.VirtualHost) *host {
	if h, ok := d.hosts.Load(v); ok {
		return h.(*dynamicHost).host
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if h, ok := d.hosts.Load(v); ok {
		return h.(*dynamicHost).host
	}
	made := &dynamicHost{table: &Table{config: d.t.config, opt: d.t.opt, headers: d.t.headers}}
	h, err := made.table.compileHost(v)
	if err == nil {
		made.host = h
	} else if d.t.opt.Faulty != nil {
		d.t.opt.Faulty(fmt.Errorf("virtual host %q of VHDS: %w", v.Name, err))
	}
	d.hosts.Store(v, made)
	if d.held++; d.held >= d.limit {
		d.sweep()
	}
	return made.host
}

// sweep drops the virtual hosts that are gone. It looks at all of them, and so runs once for as many that were made. Called
// with mu held.
func (d *dynamic) sweep() {
	set := d.set()
	d.hosts.Range(func(key, h any) bool {
		if v := key.(*model.VirtualHost); set.Owner(v.Domains[0]) != v {
			d.hosts.Delete(v)
			d.held--
			h.(*dynamicHost).table.Close()
		}
		return true
	})
	d.limit = max(firstSweep, 2*d.held)
}

func (d *dynamic) close() {
	d.hosts.Range(func(_, h any) bool {
		h.(*dynamicHost).table.Close()
		return true
	})
}
