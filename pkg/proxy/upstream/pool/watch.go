package pool

// Watch has retired called when the host is retired, at once when it is already, and returns what ends that. retired must not
// block; it is called at most once, on the goroutine that retires the host.
func (h *Host) Watch(retired func()) (stop func()) {
	w := &watcher{retired}
	h.mu.Lock()
	gone := h.retired
	if !gone {
		if h.watchers == nil {
			h.watchers = make(map[*watcher]struct{})
		}
		h.watchers[w] = struct{}{}
	}
	h.mu.Unlock()
	if gone {
		retired()
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
	}
}

// watcher is somebody who waits for the end of a host.
type watcher struct{ retired func() }

// leave tells those who wait. The caller does not hold mu.
func (h *Host) leave() {
	h.mu.Lock()
	watchers := h.watchers
	h.watchers = nil
	h.mu.Unlock()
	for w := range watchers {
		w.retired()
	}
}
