package timer

// The heap is binary, ordered by look, and each timer knows its index, so that any of them can be taken out. The
// caller holds the wheel's lock.

// add plans a look at t, which is not in the heap.
func (w *Wheel) add(t *Timer, look int64) {
	t.look.Store(look)
	t.at = len(w.heap)
	w.heap = append(w.heap, t)
	w.up(t.at)
}

// remove takes t out of the heap.
func (w *Wheel) remove(t *Timer) {
	i, last := t.at, len(w.heap)-1
	w.swap(i, last)
	w.heap[last] = nil
	w.heap = w.heap[:last]
	t.at = -1
	t.look.Store(never)
	if i < last {
		w.down(i)
		w.up(i)
	}
}

func (w *Wheel) swap(i, j int) {
	w.heap[i], w.heap[j] = w.heap[j], w.heap[i]
	w.heap[i].at, w.heap[j].at = i, j
}

func (w *Wheel) less(i, j int) bool { return w.heap[i].look.Load() < w.heap[j].look.Load() }

func (w *Wheel) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !w.less(i, parent) {
			return
		}
		w.swap(i, parent)
		i = parent
	}
}

func (w *Wheel) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(w.heap); child++ {
			if w.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		w.swap(i, least)
		i = least
	}
}
