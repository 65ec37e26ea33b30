package listener

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// nonTerminal is a filter of a chain in front of its last one.
type nonTerminal struct {
	filter filter.NonTerminal // nil for a discovered one
	// discovered is a filter that ECDS configures, nil for others.
	discovered *discoveredNetwork[filter.NonTerminal]
}

// passed is a filter that was asked about a connection, and what it keeps for it.
type passed struct {
	filter filter.NonTerminal
	state  any
	// taken is to be given back to giver; nil for a filter that ECDS does not configure.
	taken *madeNetwork[filter.NonTerminal]
	giver *discoveredNetwork[filter.NonTerminal]
}

// nonTerminals makes the filters in front of a chain's last one; nil when there are none.
func (m *Manager) nonTerminals(list []*model.NetworkFilter) ([]*nonTerminal, error) {
	var out []*nonTerminal
	for _, f := range list {
		n := &nonTerminal{}
		var err error
		if f.Discovery != nil {
			n.discovered, err = discover(m, f, m.newNonTerminal)
		} else {
			n.filter, err = m.newNonTerminal(f)
		}
		if err != nil {
			closeNonTerminals(out)
			return nil, fmt.Errorf("network filter %s: %w", f.Name, err)
		}
		out = append(out, n)
	}
	return out, nil
}

func (m *Manager) newNonTerminal(f *model.NetworkFilter) (filter.NonTerminal, error) {
	b, ok := f.Config.(filter.NonTerminalBuilder)
	if !ok {
		return nil, fmt.Errorf("configuration of type %T is only for the last filter of a chain", f.Config)
	}
	return b.NewNonTerminal(filter.NetworkDeps{Stats: m.opts.Stats, Runtime: m.opts.Runtime})
}

func closeNonTerminals(list []*nonTerminal) {
	for _, n := range list {
		closeFilter(n.filter)
		if n.discovered != nil {
			_ = n.discovered.Close() // never fails
		}
	}
}

// accepted asks the filters in front of the last one about a new connection; false when one of them wants it closed.
func (cn *connection) accepted(a *active, list []*nonTerminal) bool {
	for _, n := range list {
		p := passed{filter: n.filter}
		if n.discovered != nil {
			if p.taken = n.discovered.take(); p.taken == nil {
				cn.noConfig(a, n.discovered.name)
				return false
			}
			p.filter, p.giver = p.taken.filter, n.discovered
		}
		var ok bool
		p.state, ok = p.filter.Accept(cn.m.ctx, &cn.down)
		cn.passed = append(cn.passed, p)
		if !ok {
			cn.denied()
			return false
		}
	}
	return true
}

// begun asks them again, now that TLS is terminated.
func (cn *connection) begun() bool {
	for i := range cn.passed {
		p := &cn.passed[i]
		if !p.filter.Begin(cn.m.ctx, &cn.down, p.state) {
			cn.denied()
			return false
		}
	}
	return true
}

// denied tells the last filter of a connection that one before it closes.
func (cn *connection) denied() {
	if d, ok := cn.serving.(filter.Denier); ok {
		d.Denied(&cn.down)
	}
}

// endPassed tells the filters that the connection has ended, the last one first.
func (cn *connection) endPassed() {
	for i := len(cn.passed) - 1; i >= 0; i-- {
		p := &cn.passed[i]
		p.filter.End(&cn.down, p.state)
		if p.taken != nil {
			p.giver.give(p.taken)
		}
	}
}
