package conn

import "context"

// waits is the key of the function that a context carries for Waits.
type waits struct{}

// NoteWaits gives a context for work that is done where others wait for it to end: whatever is going to wait calls Waits before,
// on which f is called, so that somebody else can take the goroutine's place. f may be called more than once, and from any goroutine.
func NoteWaits(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, waits{}, f)
}

// Waits is to be called before something that may wait for longer than a system call takes.
func Waits(ctx context.Context) {
	if f, ok := ctx.Value(waits{}).(func()); ok {
		f()
	}
}
