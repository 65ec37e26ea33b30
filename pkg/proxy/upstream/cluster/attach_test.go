package cluster

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

type closes struct{ n int }

func (c *closes) Close() error { c.n++; return nil }

func TestAttach(t *testing.T) {
	h := newHarness(t)
	b := plainBackend(t, nil)
	first := &closes{}
	h.Apply(snapshot(static("web", b.addr)))
	c := h.Get("web")
	made := 0
	for range 2 {
		if c.Attach(func() any { made++; return first }) != first {
			t.Error("something else is attached")
		}
	}
	if made != 1 {
		t.Errorf("made %d times", made)
	}
	changed := static("web", b.addr)
	changed.Metadata = map[string]map[string]any{"x": {}}
	h.Apply(snapshot(changed))
	if first.n != 1 {
		t.Errorf("closed %d times after a change, want once", first.n)
	}
	second := &closes{}
	if h.Get("web").Attach(func() any { return second }) != second {
		t.Error("the successor has what was its predecessor's")
	}
	changed = static("web", b.addr)
	changed.HTTP.Protocol = model.UpstreamHTTP2 // connects in another way
	h.Apply(snapshot(changed))
	h.Apply(snapshot())
	if first.n != 1 || second.n != 1 {
		t.Errorf("closed %d and %d times at the end", first.n, second.n)
	}
}
