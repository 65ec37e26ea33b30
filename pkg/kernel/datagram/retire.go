package datagram

import "fmt"

// Retire captures nothing from now on; no plan may come any more. What is attached stays until Close, since it completes the exchanges under
// way: their answers come from where the applications sent to. What another daemon has taken over is left alone.
func (i *Interceptor) Retire() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.pinned.Yielded() || i.objects == nil {
		return nil
	}
	control := i.control(i.generation, i.plan)
	control.Flags = 0
	if err := i.swap(control); err != nil {
		return fmt.Errorf("stop capturing datagrams: %w", err)
	}
	return nil
}
