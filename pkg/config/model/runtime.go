package model

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// RuntimeValue is a value of the runtime, read once in every way that it can be.
type RuntimeValue struct {
	// Text is the value as it was written.
	Text string
	// Is tells which of the fields below hold something.
	Is RuntimeKinds
	// Number is set for whole numbers that are not negative, Double for all numbers.
	Number uint64
	Double float64
	Bool   bool
	// Numerator of Denominator is a FractionalPercent.
	Numerator, Denominator uint32
}

// RuntimeKinds is a set of ways to read a RuntimeValue.
type RuntimeKinds uint8

// Ways to read a runtime value.
const (
	RuntimeIsNumber RuntimeKinds = 1 << iota
	RuntimeIsDouble
	RuntimeIsBool
	RuntimeIsFraction
)

// Runtime is what the layers of the runtime come to at present. Readers take no lock and allocate nothing. A nil *Runtime knows
// no key.
type Runtime struct {
	current atomic.Pointer[runtimeView]
}

// runtimeView is one state of the runtime. It is not written once it is in force.
type runtimeView struct {
	values   map[string]RuntimeValue
	families RuntimeFamily
}

// NewRuntime makes a runtime that says values, which it takes over.
func NewRuntime(values map[string]RuntimeValue) *Runtime {
	r := new(Runtime)
	r.Set(values)
	return r
}

// RuntimeOf makes a runtime of whole numbers.
func RuntimeOf(numbers map[string]uint64) *Runtime {
	values := make(map[string]RuntimeValue, len(numbers))
	for key, n := range numbers {
		values[key] = RuntimeValue{Text: strconv.FormatUint(n, 10), Is: RuntimeIsNumber | RuntimeIsDouble, Number: n, Double: float64(n)}
	}
	return NewRuntime(values)
}

// Set replaces all values; it takes them over. It returns the keys whose value differs from before, in order.
func (r *Runtime) Set(values map[string]RuntimeValue) (changed []string) {
	next := &runtimeView{values: values}
	for key := range values {
		next.families |= familyOf(key)
	}
	was := r.current.Swap(next)
	if was == nil {
		was = &runtimeView{}
	}
	for key, v := range values {
		if old, ok := was.values[key]; !ok || old != v {
			changed = append(changed, key)
		}
	}
	for key := range was.values {
		if _, ok := values[key]; !ok {
			changed = append(changed, key)
		}
	}
	slices.Sort(changed)
	return changed
}

// All are the present values by key.
func (r *Runtime) All() map[string]RuntimeValue { return maps.Clone(r.view().values) }

func (r *Runtime) view() *runtimeView {
	if r != nil {
		if v := r.current.Load(); v != nil {
			return v
		}
	}
	return &nothing
}

// nothing is the runtime that knows no key; it is never written.
var nothing runtimeView

// Knows tells whether any key of a family has a value: a reader whose keys are made of names asks this first.
func (r *Runtime) Knows(f RuntimeFamily) bool { return r.view().families&f != 0 }

// Number is the value of a key as a whole number; false when there is none or it is none.
func (r *Runtime) Number(key string) (uint64, bool) {
	v := r.view().values[key]
	return v.Number, v.Is&RuntimeIsNumber != 0
}

// Double is the value of a key as a number.
func (r *Runtime) Double(key string) (float64, bool) {
	v := r.view().values[key]
	return v.Double, v.Is&RuntimeIsDouble != 0
}

// Flag is the value of a key as a truth value, or instead when it has none.
func (r *Runtime) Flag(key string, instead bool) bool {
	if v := r.view().values[key]; v.Is&RuntimeIsBool != 0 {
		return v.Bool
	}
	return instead
}

// Percent tells whether a random number is among as many percent as the key says, or else as instead does. A number above 100
// stands for all.
func (r *Runtime) Percent(key string, instead, random uint64) bool {
	if n, ok := r.Number(key); ok {
		instead = n
	}
	return random%100 < instead
}

// Drawn tells whether a random number is among a fraction. The value at its key replaces it: a fractional percent, or a whole
// number that stands for so many percent. What exceeds the whole stands for all; a nil fraction does too.
func (r *Runtime) Drawn(f *Fraction, random uint64) bool {
	if f == nil {
		return true
	}
	if f.RuntimeKey != "" {
		switch v := r.view().values[f.RuntimeKey]; {
		case v.Is&RuntimeIsFraction != 0:
			return random%uint64(max(v.Denominator, 1)) < uint64(v.Numerator)
		case v.Is&RuntimeIsNumber != 0:
			return random%100 < v.Number
		}
	}
	return f.Denominator == 0 || random%uint64(f.Denominator) < uint64(f.Numerator)
}

// Replaced is a fraction with what the runtime says at its key in place of its numbers.
func (r *Runtime) Replaced(f Fraction) Fraction {
	if f.RuntimeKey == "" {
		return f
	}
	switch v := r.view().values[f.RuntimeKey]; {
	case v.Is&RuntimeIsFraction != 0:
		f.Numerator, f.Denominator = v.Numerator, v.Denominator
	case v.Is&RuntimeIsNumber != 0:
		f.Numerator, f.Denominator = uint32(min(v.Number, 100)), 100
	}
	return f
}

// familyOf is the family that a key belongs to, 0 for none.
func familyOf(key string) RuntimeFamily {
	for _, f := range families {
		if strings.HasPrefix(key, f.prefix) {
			return f.family
		}
	}
	return 0
}
