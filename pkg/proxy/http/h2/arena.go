package h2

import "strings"

// arena holds the strings of one message's fields. What was added stays where it is until reset.
type arena struct{ b []byte }

// arenaKeep is how much memory in bytes an arena keeps from one message to the next.
const arenaKeep = 4 << 10

// reset ends the life of all strings.
func (a *arena) reset() {
	if cap(a.b) > arenaKeep {
		a.b = nil
	}
	a.b = a.b[:0]
}

// room makes sure that n bytes can be added in one place; strings given out earlier keep their memory.
func (a *arena) room(n int) {
	if cap(a.b)-len(a.b) < n {
		a.b = make([]byte, 0, max(n, 512, 2*cap(a.b)))
	}
}

// add copies p.
func (a *arena) add(p []byte) string {
	a.room(len(p))
	at := len(a.b)
	a.b = append(a.b, p...)
	return a.since(at)
}

// since is what was added since the arena was at bytes long.
func (a *arena) since(at int) string { return view(a.b[at:]) }

func clone(s string) string { return strings.Clone(s) }
