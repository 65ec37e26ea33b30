// Package runtime is Envoy's layered runtime: numbers and flags by key that later layers override and that can be changed while
// the process runs.
//
// It owns the layers and their merged view, which readers get without a lock. It must not know who reads which key.
package runtime

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
)

// Layer is one layer; later ones win.
type Layer struct {
	Name   string
	Values map[string]string
	// Admin layers are written by Modify.
	Admin bool
}

// Runtime is the layers and what they come to.
type Runtime struct {
	mu     sync.Mutex
	layers []Layer
	merged atomic.Pointer[map[string]string]
}

// New makes a runtime of layers in order; it takes ownership of them.
func New(layers []Layer) *Runtime {
	r := &Runtime{layers: layers}
	r.merge()
	return r
}

// merge recomputes the merged view. Called with mu held, or before anyone else knows r.
func (r *Runtime) merge() {
	m := map[string]string{}
	for _, l := range r.layers {
		maps.Copy(m, l.Values)
	}
	r.merged.Store(&m)
}

// Value is the final value of a key.
func (r *Runtime) Value(key string) (string, bool) {
	v, ok := (*r.merged.Load())[key]
	return v, ok
}

// Number is the final value of a key as a whole number; false when there is none or it is not a number.
func (r *Runtime) Number(key string) (uint64, bool) {
	v, ok := r.Value(key)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(v, 10, 64)
	return n, err == nil
}

// Layers returns copies of the layers in order.
func (r *Runtime) Layers() []Layer {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Layer, len(r.layers))
	for i, l := range r.layers {
		out[i] = Layer{l.Name, maps.Clone(l.Values), l.Admin}
	}
	return out
}

// ErrNoAdminLayer is returned by Modify when no layer can be written.
//
//lint:ignore ST1005 these are Envoy's words, shown as they are
var ErrNoAdminLayer = errors.New("No admin layer specified")

// Modify sets keys of the admin layer and deletes those with an empty value.
func (r *Runtime) Modify(values map[string]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.layers {
		if !r.layers[i].Admin {
			continue
		}
		next := maps.Clone(r.layers[i].Values)
		if next == nil {
			next = map[string]string{}
		}
		for k, v := range values {
			if v == "" {
				delete(next, k)
				continue
			}
			next[k] = v
		}
		r.layers[i].Values = next
		r.merge()
		return nil
	}
	return ErrNoAdminLayer
}

// Format prints a value of a Struct as the runtime stores it.
func Format(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
