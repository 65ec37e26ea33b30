package lb

import "sync"

// edf is an earliest-deadline-first schedule: entry i comes up in proportion to its weight, evenly spread. It is a heap
// of fixed size, so that taking the next entry does not allocate.
type edf struct {
	mu     sync.Mutex
	heap   []edfEntry
	clock  float64
	turn   uint64
	weight func(i int) float64
}

// edfEntry is due at deadline; of equal deadlines the one that was put back first is due first.
type edfEntry struct {
	deadline float64
	turn     uint64
	index    int
}

// newEDF makes a schedule of fixed, positive weights. It starts at a random place, so that many proxies which get the same
// hosts do not all begin with the same one.
func newEDF(weights []float64, random func() uint64) *edf {
	return newDynamicEDF(len(weights), func(i int) float64 { return weights[i] }, random)
}

// newDynamicEDF makes a schedule of n entries that asks for the weight of an entry whenever it puts the entry back.
func newDynamicEDF(n int, weight func(i int) float64, random func() uint64) *edf {
	e := &edf{heap: make([]edfEntry, n), weight: weight}
	for i := range e.heap {
		e.turn++
		e.heap[i] = edfEntry{deadline: 1 / weight(i), turn: e.turn, index: i}
	}
	e.heapify()
	for range random() % uint64(n) {
		e.next()
	}
	return e
}

// newJoinedEDF makes the same schedule as if it had been going for long: an entry is due at any time of its turn. Those of little
// weight, which otherwise come up late, thus get their share even when schedules are made anew again and again.
func newJoinedEDF(n int, weight func(i int) float64, random func() uint64) *edf {
	e := &edf{heap: make([]edfEntry, n), weight: weight}
	for i := range e.heap {
		e.turn++
		part := float64(random()>>11) / (1 << 53)
		e.heap[i] = edfEntry{deadline: part / weight(i), turn: e.turn, index: i}
	}
	e.heapify()
	return e
}

func (e *edf) heapify() {
	for i := len(e.heap)/2 - 1; i >= 0; i-- {
		e.down(i)
	}
}

// next takes the entry that is due and puts it back for its next turn.
func (e *edf) next() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	top := &e.heap[0]
	index := top.index
	e.clock = top.deadline
	e.turn++
	top.deadline, top.turn = e.clock+1/e.weight(index), e.turn
	e.down(0)
	return index
}

func (e *edf) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(e.heap); child++ {
			if e.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		e.heap[i], e.heap[least] = e.heap[least], e.heap[i]
		i = least
	}
}

func (e *edf) less(a, b int) bool {
	x, y := &e.heap[a], &e.heap[b]
	return x.deadline < y.deadline || x.deadline == y.deadline && x.turn < y.turn
}
