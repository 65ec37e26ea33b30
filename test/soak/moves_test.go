package soak

import (
	"fmt"
	"math/rand/v2"

	"github.com/weir-proxy/weir/test/harness"
)

// newWorld is the state that a run begins and ends with.
func newWorld(b *backends, c harness.Certificate) *world {
	return &world{b: b, flap: []int{0}, tcp: []int{1}, weights: [2]int{1, 0}, morph: morph{hosts: []int{3}}, certificate: c}
}

// next is a world after some moves.
func (w *world) next(rng *rand.Rand) (*world, string) {
	n := *w
	n.bad = ""
	var moves string
	for range 1 + rng.IntN(3) {
		moves += " " + n.move(rng)
	}
	if rng.IntN(3) == 0 {
		n.bad = badResources[rng.IntN(len(badResources))]
		moves += " bad(" + n.bad + ")"
	}
	return &n, moves
}

// move changes one thing and says what.
func (w *world) move(rng *rand.Rand) string {
	switch rng.IntN(12) {
	case 0, 1:
		w.flap = subset(rng, len(w.b.plain), 0)
		return fmt.Sprint("flap", w.flap)
	case 2:
		w.tcp = subset(rng, len(w.b.echo), 0)
		return fmt.Sprint("tcp", w.tcp)
	case 3:
		w.weights = [][2]int{{1, 0}, {0, 1}, {50, 50}, {3, 97}}[rng.IntN(4)]
		return fmt.Sprint("weights", w.weights)
	case 4, 5:
		w.morph = randomMorph(rng, len(w.b.plain))
		return fmt.Sprintf("morph%+v", w.morph)
	case 6:
		w.optional = rng.IntN(4)
		return fmt.Sprint("optional=", w.optional)
	case 7:
		w.swapped = !w.swapped
		return fmt.Sprint("swapped=", w.swapped)
	case 8:
		w.come = rng.IntN(3)
		return fmt.Sprint("come=", w.come)
	case 9:
		w.main = rng.IntN(3)
		w.extra = rng.IntN(2) == 0
		return fmt.Sprintf("main=%d extra=%t", w.main, w.extra)
	case 10:
		w.options, w.virtual = rng.IntN(4), rng.IntN(3)
		return fmt.Sprintf("options=%d virtual=%d", w.options, w.virtual)
	default:
		w.certificate = w.b.ca.Issue("shop.test", "extra.test")
		return "certificate=" + w.certificate.Serial
	}
}

func randomMorph(rng *rand.Rand, n int) morph {
	m := morph{kind: rng.IntN(morphKinds), tls: rng.IntN(2) == 0, timeout: rng.IntN(2), hosts: subset(rng, n, 1)}
	if m.kind == morphEDS {
		// Cluster and endpoints come one after the other: between the two TLS would meet a plain server.
		m.tls = false
	}
	return m
}

// subset is at least so many of n, in order.
func subset(rng *rand.Rand, n, least int) []int {
	for {
		out := []int{}
		for i := range n {
			if rng.IntN(2) == 0 {
				out = append(out, i)
			}
		}
		if len(out) >= least {
			return out
		}
	}
}

// expect says what clients may see of each target while the world is in force.
func (w *world) expect() map[string]outcomes {
	names := func(prefix string, indices []int, none string) outcomes {
		if len(indices) == 0 {
			return only(none)
		}
		o := outcomes{}
		for _, i := range indices {
			o[fmt.Sprint(prefix, i)] = true
		}
		return o
	}
	split := outcomes{}
	for i, weight := range w.weights {
		if weight > 0 {
			split[fmt.Sprint("plain", i+1)] = true
		}
	}
	all := map[string]outcomes{
		"stable": only("plain0"), "main": only("plain0"), "options": only("plain0"), "keep": only("plain3"), "long": only("echo0"),
		"flap": names("plain", w.flap, "503"), "tcp": names("echo", w.tcp, closed), "split": split, "morph": w.expectMorph(),
		"optional": only("404"), "left": only("plain1"), "right": only("plain2"), "come": only(refused), "extra": only(closed),
		"certificate": only(w.certificate.Serial),
	}
	if w.optional > 0 {
		all["optional"] = only(fmt.Sprint("plain", w.optional%3))
	}
	if w.swapped {
		all["left"], all["right"] = all["right"], all["left"]
	}
	if w.come > 0 {
		all["come"] = only("plain0")
	}
	if w.extra {
		all["extra"] = only("plain0")
	}
	return all
}

func (w *world) expectMorph() outcomes {
	o := outcomes{}
	for _, i := range w.morph.hosts {
		if w.morph.tls {
			o[fmt.Sprint("secure", i)] = true
		} else {
			o[fmt.Sprint("plain", i)] = true
		}
	}
	return o
}

// between is what may be seen beside the old and the new on the way from one world to another.
func between(a, b *world) map[string]outcomes {
	more := map[string]outcomes{}
	if a.come > 0 && b.come == 0 {
		more["come"] = only(closed) // the system had accepted it, but nobody took it
	}
	if a.optional != b.optional {
		more["optional"] = only("503") // a control plane does not say cluster and route in one breath
	}
	return more
}
