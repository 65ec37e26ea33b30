package model_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func share(numerator, denominator uint32) model.RuntimeValue {
	return model.RuntimeValue{Is: model.RuntimeIsFraction, Numerator: numerator, Denominator: denominator}
}

func whole(n uint64) model.RuntimeValue {
	return model.RuntimeValue{Is: model.RuntimeIsNumber, Number: n}
}

func TestDrawn(t *testing.T) {
	const million = 1_000_000
	for name, tc := range map[string]struct {
		value  model.RuntimeValue
		random uint64
		want   bool
	}{
		"no value, within":   {model.RuntimeValue{}, 24, true},
		"no value, beyond":   {model.RuntimeValue{}, 25, false},
		"text":               {model.RuntimeValue{Text: "x"}, 25, false},
		"number, within":     {whole(50), 149, true},
		"number, beyond":     {whole(50), 150, false},
		"number over 100":    {whole(5000), 99, true},
		"nothing":            {whole(0), 0, false},
		"fraction, within":   {share(3, million), million + 2, true},
		"fraction, beyond":   {share(3, million), million + 3, false},
		"more than all":      {share(200, 100), 99, true},
		"of no denominator":  {share(1, 0), 7, true},
		"truth is no number": {model.RuntimeValue{Is: model.RuntimeIsBool, Bool: true}, 25, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := model.NewRuntime(map[string]model.RuntimeValue{"share": tc.value})
			f := &model.Fraction{Numerator: 25, Denominator: 100, RuntimeKey: "share"}
			if got := r.Drawn(f, tc.random); got != tc.want {
				t.Errorf("got %v", got)
			}
			if r.Drawn(&model.Fraction{Numerator: 0, Denominator: 100}, tc.random) {
				t.Error("a fraction without key looked at the runtime")
			}
		})
	}
	var none *model.Runtime
	if !none.Drawn(nil, 99) || none.Drawn(&model.Fraction{Denominator: 100, RuntimeKey: "x"}, 0) || none.Knows(model.RuntimeFamilyBreakers) {
		t.Error("no runtime is not an empty one")
	}
}

func TestSetTellsWhatChanged(t *testing.T) {
	r := model.RuntimeOf(map[string]uint64{"same": 1, "other": 1, "gone": 1})
	got := r.Set(model.RuntimeOf(map[string]uint64{"same": 1, "other": 2, "upstream.maintenance_mode.a": 1}).All())
	if diff := cmp.Diff([]string{"gone", "other", "upstream.maintenance_mode.a"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !r.Knows(model.RuntimeFamilyMaintenance) || r.Knows(model.RuntimeFamilyBreakers|model.RuntimeFamilyListener) {
		t.Error("families are not those of the keys")
	}
}

func TestRuntimeReadsDoNotAllocate(t *testing.T) {
	r := model.NewRuntime(map[string]model.RuntimeValue{"share": share(1, 100)})
	f := &model.Fraction{Numerator: 25, Denominator: 100, RuntimeKey: "share"}
	if n := testing.AllocsPerRun(100, func() {
		r.Drawn(f, 7)
		r.Number("x")
		r.Flag("x", true)
		r.Knows(model.RuntimeFamilyMaintenance)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
