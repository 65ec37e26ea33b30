package acceleration

// thisHost asks the kernel.
func thisHost() host {
	return host{supported: func() error { return nil }, test: func(bool) error { return nil }}
}
