// Package program is what all packages that load BPF objects do in the same way: decode and load them, with the verifier's words in the
// error, close them, exchange their settings, sum up counters, and
// tell what runs at a hook.
//
// It must not know what any program does. It has no state.
package program
