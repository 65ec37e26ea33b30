package agent

// runtimeChanged lets what acts on runtime keys when they change, rather than when it looks, know of the keys that did. It is
// called with the runtime locked.
func (a *Agent) runtimeChanged(keys []string) {
	a.log.Debug("runtime changed", "keys", len(keys))
}
