package view

import (
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"

	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// InitDump tells what start-up, and what warming listeners and clusters wait for.
type InitDump struct {
	Config Config
	// RuntimeLayers names the layers of RTDS that have not come.
	RuntimeLayers func() []string
}

var _ admin.InitDump = InitDump{}

// InitDump implements admin.InitDump. Listeners and clusters come after the layers, as they are waited for.
func (v InitDump) InitDump() *adminv3.UnreadyTargetsDumps {
	out := v.Config.InitDump()
	waiting := v.RuntimeLayers()
	if len(waiting) == 0 {
		return out
	}
	layers := &adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{Name: "init manager RTDS"}
	for _, name := range waiting {
		layers.TargetNames = append(layers.TargetNames, "target RTDS "+name)
	}
	out.UnreadyTargetsDumps = append([]*adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{layers}, out.UnreadyTargetsDumps...)
	return out
}

// InitDump implements admin.InitDump: what warming listeners and clusters wait for, and what that waits for in turn.
func (v Config) InitDump() *adminv3.UnreadyTargetsDumps {
	d := v.Dump()
	missing := map[store.Reference][]store.Reference{}
	for _, w := range d.Waiting {
		for _, user := range w.For {
			missing[user] = append(missing[user], w.Reference)
		}
	}
	out := &adminv3.UnreadyTargetsDumps{}
	add := func(manager, typeURL, name string) {
		out.UnreadyTargetsDumps = append(out.UnreadyTargetsDumps, &adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{
			Name: manager + name, TargetNames: targets(nil, missing, store.Reference{Type: typeURL, Name: name}),
		})
	}
	for _, s := range d.Listeners {
		if s.Warming != nil {
			add("init manager Listener-local-init-manager ", xds.ListenerType, s.Name)
		}
	}
	for _, s := range d.Clusters {
		if s.Warming != nil {
			add("init manager Cluster ", xds.ClusterType, s.Name)
		}
	}
	return out
}

// targets appends what a resource waits for, each before what that waits for.
func targets(list []string, missing map[store.Reference][]store.Reference, user store.Reference) []string {
	for _, m := range missing[user] {
		target := "target " + m.Type[strings.LastIndexByte(m.Type, '.')+1:] + " " + m.Name
		if !slices.Contains(list, target) {
			list = targets(append(list, target), missing, m)
		}
	}
	return list
}
