// Package events reads the ring buffer through which weir's programs tell of the decisions that they take, as they take them.
//
// It owns the ring (bpf/event.h), one for all objects, so that decisions are read in the order in which they were taken, and the
// switches by which each object is told what to tell. It must not know what the decisions are about: each kernel package adds a Source,
// which has the words. While nobody listens nothing is told, and a decision costs one look at a word of memory.
//
// Locking: Ring.mu guards the sources and what is wanted. It is never held while a Source is asked for words, so that sources may call
// Add and Remove under locks of their own.
package events
