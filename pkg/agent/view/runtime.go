package view

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// Runtime is the layered runtime: the static layers of the bootstrap and what the administration interface set. Layers of other
// kinds are shown by name. It is safe for concurrent use.
type Runtime struct {
	mu     sync.RWMutex
	layers []admin.RuntimeLayer
	// at is the position of the admin layer, -1 without one.
	at int
}

var _ admin.Runtime = (*Runtime)(nil)

// NewRuntime makes the runtime of the bootstrap's layers. The last admin layer is the one that can be changed.
func NewRuntime(layers []translate.RuntimeLayer) *Runtime {
	r := &Runtime{at: -1}
	for i, l := range layers {
		values := make(map[string]string, len(l.Static))
		for key, v := range l.Static {
			values[key] = runtimeText(v)
		}
		if l.Admin {
			r.at = i
		}
		r.layers = append(r.layers, admin.RuntimeLayer{Name: l.Name, Values: values})
	}
	return r
}

// runtimeText is a value as /runtime shows it.
func runtimeText(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// Layers implements admin.Runtime.
func (r *Runtime) Layers() []admin.RuntimeLayer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]admin.RuntimeLayer, 0, len(r.layers))
	for _, l := range r.layers {
		out = append(out, admin.RuntimeLayer{Name: l.Name, Values: maps.Clone(l.Values)})
	}
	return out
}

// Modify implements admin.Runtime. The error is in Envoy's words, since it is shown as it is.
func (r *Runtime) Modify(values map[string]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at < 0 {
		//lint:ignore ST1005 these are Envoy's words
		return errors.New("No admin layer specified")
	}
	for key, v := range values {
		if v == "" {
			delete(r.layers[r.at].Values, key)
			continue
		}
		r.layers[r.at].Values[key] = v
	}
	return nil
}

// Value is what the last layer that has the key says of it.
func (r *Runtime) Value(key string) (string, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := len(r.layers) - 1; i >= 0; i-- {
		if v, ok := r.layers[i].Values[key]; ok {
			return v, true
		}
	}
	return "", false
}
