package intercept

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// The structs of bpf/policy.h; see wire.go.

// Bits of wirePolicyTest.Flags, enum policy_flag.
const (
	policySource = 1 << iota
	policyIPv6
)

type wirePolicyTest struct {
	Addr     wireAddr
	Mask     wireAddr
	First    uint16
	Last     uint16
	Yes      uint16
	No       uint16
	Flags    uint8
	Engine   uint8
	Reserved uint16
}

type wirePolicyEngine struct {
	Allowed  uint64
	Denied   uint64
	Matched  uint64
	Next     uint16
	Action   uint8
	Shadow   uint8
	Reserved uint32
}

type wirePolicy struct {
	Engine [steer.MaxPolicyEngines]wirePolicyEngine
	Test   [steer.MaxPolicyTests]wirePolicyTest
}

type wirePolicyQuery struct {
	Source      wireAddr
	Destination wireAddr
	Port        wirePort
	Reserved    uint16
}

// policyOf is a policy as the kernel evaluates it. It refuses what the kernel could not follow to an answer.
func policyOf(p *steer.Policy) (*wirePolicy, error) {
	if len(p.Engines) == 0 || len(p.Engines) > steer.MaxPolicyEngines || len(p.Tests) > steer.MaxPolicyTests {
		return nil, fmt.Errorf("a policy of %d engines and %d tests is not one for the kernel", len(p.Engines), len(p.Tests))
	}
	out := &wirePolicy{}
	for n := range p.Engines {
		e, end, next := &p.Engines[n], len(p.Tests), uint16(steer.NoMatch)
		if n+1 < len(p.Engines) {
			end = p.Engines[n+1].Entry
			next = uint16(end)
		}
		if e.Entry >= end || n == 0 && e.Entry != 0 || end > len(p.Tests) {
			return nil, fmt.Errorf("engine %d of a policy has no tests", n)
		}
		out.Engine[n] = wirePolicyEngine{Next: next, Action: uint8(e.Action)}
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
			out.Test[i] = policyTestOf(t)
			out.Test[i].Engine = uint8(n)
		}
	}
	return out, nil
}

func policyTestOf(t *steer.PolicyTest) wirePolicyTest {
	w := wirePolicyTest{First: t.First, Last: t.Last, Yes: uint16(t.Yes), No: uint16(t.No)}
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
