// Package wirepolicy encodes compiled policies as the kernel's programs evaluate them (bpf/policy.h), and reads what those counted.
//
// It owns the layout of struct weir_policy. It must not know maps, programs or who refers to a policy. All of it is pure.
package wirepolicy

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Bits of Test.Flags, enum policy_flag.
const (
	policySource = 1 << iota
	policyIPv6
)

// Test is struct policy_test.
type Test struct {
	Addr     [16]byte
	Mask     [16]byte
	First    uint16
	Last     uint16
	Yes      uint16
	No       uint16
	Flags    uint8
	Engine   uint8
	Reserved uint16
}

// Engine is struct policy_engine.
type Engine struct {
	Allowed  uint64
	Denied   uint64
	Matched  uint64
	Next     uint16
	Action   uint8
	Shadow   uint8
	Reserved uint32
}

// Policy is struct weir_policy.
type Policy struct {
	Engine [steer.MaxPolicyEngines]Engine
	Test   [steer.MaxPolicyTests]Test
}

// Of is a policy as the kernel evaluates it. It refuses what the kernel could not follow to an answer.
func Of(p *steer.Policy) (*Policy, error) {
	if len(p.Engines) == 0 || len(p.Engines) > steer.MaxPolicyEngines || len(p.Tests) > steer.MaxPolicyTests {
		return nil, fmt.Errorf("a policy of %d engines and %d tests is not one for the kernel", len(p.Engines), len(p.Tests))
	}
	out := &Policy{}
	for n := range p.Engines {
		e, end, next := &p.Engines[n], len(p.Tests), uint16(steer.NoMatch)
		if n+1 < len(p.Engines) {
			end = p.Engines[n+1].Entry
			next = uint16(end)
		}
		if e.Entry >= end || n == 0 && e.Entry != 0 || end > len(p.Tests) {
			return nil, fmt.Errorf("engine %d of a policy has no tests", n)
		}
		out.Engine[n] = Engine{Next: next, Action: uint8(e.Action)}
		if e.Shadow {
			out.Engine[n].Shadow = 1
		}
		for i := e.Entry; i < end; i++ {
			t := &p.Tests[i]
			for _, to := range []int{t.Yes, t.No} {
				if to <= i || to >= end && to < steer.Match || to > steer.NoMatch {
					return nil, fmt.Errorf("test %d of a policy leads to %d", i, to)
				}
			}
			out.Test[i] = testOf(t)
			out.Test[i].Engine = uint8(n)
		}
	}
	return out, nil
}

func testOf(t *steer.PolicyTest) Test {
	w := Test{First: t.First, Last: t.Last, Yes: uint16(t.Yes), No: uint16(t.No)}
	if t.Source {
		w.Flags |= policySource
	}
	if !t.Prefix.IsValid() {
		return w
	}
	bits := t.Prefix.Bits()
	if t.Prefix.Addr().Is4() {
		bits += 96
	} else {
		w.Flags |= policyIPv6
	}
	w.Addr = t.Prefix.Masked().Addr().As16()
	for i := range w.Mask {
		n := min(max(bits-8*i, 0), 8)
		w.Mask[i] = byte(0xff << (8 - n))
	}
	return w
}

// Stats are the results of the rules that are counted in one place.
type Stats struct {
	// Stat is what the names of the statistics begin with; those of shadow rules go on with "shadow_".
	Stat   string
	Shadow bool
	// Allowed and Denied are the results.
	Allowed, Denied uint64
	// Logged and NotLogged are those of rules whose action is LOG, which allow everything.
	Logged, NotLogged uint64
}

// Key is where the results of an engine are counted.
type Key struct {
	Stat   string
	Shadow bool
}

// AddTo adds what the policy has counted, of which p is the source.
func (w *Policy) AddTo(to map[Key]Stats, p *steer.Policy) {
	for n := range p.Engines {
		e, counted := &p.Engines[n], &w.Engine[n]
		key := Key{e.Stat, e.Shadow}
		s := to[key]
		s.Stat, s.Shadow = e.Stat, e.Shadow
		s.Allowed += counted.Allowed
		s.Denied += counted.Denied
		if e.Action == model.RBACLog {
			s.Logged += counted.Matched
			s.NotLogged += counted.Allowed - min(counted.Matched, counted.Allowed)
		}
		to[key] = s
	}
}
