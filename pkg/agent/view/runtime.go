package view

import (
	"github.com/weir-proxy/weir/pkg/config/runtime"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// Runtime shows the layered runtime.
type Runtime struct{ Of *runtime.Runtime }

var _ admin.Runtime = Runtime{}

// Layers implements admin.Runtime.
func (v Runtime) Layers() []admin.RuntimeLayer {
	var out []admin.RuntimeLayer
	for _, l := range v.Of.Layers() {
		out = append(out, admin.RuntimeLayer{Name: l.Name, Values: l.Values})
	}
	return out
}

// Modify implements admin.Runtime.
func (v Runtime) Modify(values map[string]string) error { return v.Of.Modify(values) }
