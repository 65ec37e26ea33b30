package h2

// arena holds the strings of one message that were put together here. What was added stays where it is until reset.
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

// add copies p; strings given out earlier keep their memory.
func (a *arena) add(p []byte) string {
	if cap(a.b)-len(a.b) < len(p) {
		a.b = make([]byte, 0, max(len(p), 512, 2*cap(a.b)))
	}
	at := len(a.b)
	a.b = append(a.b, p...)
	return view(a.b[at:])
}
