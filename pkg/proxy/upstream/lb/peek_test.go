package lb

import (
	"slices"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

func TestPeek(t *testing.T) {
	hosts := []*upstream.Host{host(1), host(2), host(3)}
	s := New(hosts, Options{Rand: seeded()})
	for range 7 {
		first, third := s.Peek(0), s.Peek(2)
		a, _ := s.Pick(&upstream.PickContext{})
		if a != first {
			t.Fatalf("picked %v, %v was predicted", a.Name(), first.Name())
		}
		if s.Peek(1) != third {
			t.Fatalf("the prediction for the third pick became another one")
		}
	}
	sick := host(4, health(model.HealthUnhealthy))
	for _, policy := range []model.LBPolicy{model.LBRandom, model.LBRoundRobin} {
		s := New([]*upstream.Host{host(1, weight(2)), host(2), sick}, Options{Policy: policy, Rand: seeded()})
		for n := range 20 {
			if h := s.Peek(n); h == nil || h == sick {
				t.Fatalf("policy %d predicts %v", policy, h)
			}
		}
	}
	for _, s := range []*Set{
		New(nil, Options{}), New(slices.Clone(hosts), ringOf(12)), New(slices.Clone(hosts), Options{Policy: model.LBLeastRequest}),
		New([]*upstream.Host{sick}, Options{PanicThreshold: 50}),
	} {
		if h := s.Peek(0); h != nil {
			t.Errorf("predicts %v where nothing can be said", h.Name())
		}
	}
}
