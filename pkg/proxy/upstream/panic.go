package upstream

import (
	"fmt"
	"runtime/debug"
)

// Panic is the error of an exchange one of whose goroutines has panicked. Whoever serves the request treats it like a panic
// of its own goroutine.
type Panic struct {
	// Value is what was panicked with.
	Value any
	// Stack of the goroutine, as runtime/debug.Stack gives it.
	Stack []byte
}

// Error implements error.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Recovered makes an error of kind KindAborted of what recover has returned, and nil of nil. A deferred function calls it,
// so that the stack is still that of the panic.
func Recovered(v any) *Error {
	if v == nil {
		return nil
	}
	return &Error{Kind: KindAborted, Err: &Panic{Value: v, Stack: debug.Stack()}}
}
