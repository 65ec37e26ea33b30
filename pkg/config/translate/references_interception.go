package translate

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// interception warns about unknown listeners that are to be excluded, when all listeners are known.
func (r *references) interception() {
	if r.DynamicListeners {
		return
	}
	for _, e := range r.Extensions {
		i, ok := e.Config.(*model.Interception)
		if !ok {
			continue
		}
		for n, name := range i.Offload.ExcludeListeners {
			m := missing{"", fmt.Sprintf("%s.offload.exclude_listeners[%d]", e.Path, n), "listener", name}
			if !r.has(m.kind, name, r.Listeners[name] != nil) {
				r.warn(m, "unknown listener '%s': no listener is kept from being offloaded", name)
			}
		}
	}
}
