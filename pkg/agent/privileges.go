package agent

import (
	"errors"
	"syscall"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/lifecycle/privilege"
)

// dropPrivileges gives up what the process needs no longer now that it serves. Called with mu free.
func (a *Agent) dropPrivileges(i *model.Interception) {
	if i != nil && i.LifeCycle.KeepPrivileges {
		return
	}
	a.mu.Lock()
	needs := a.capture.needs(i)
	a.mu.Unlock()
	state, err := privilege.Drop(needs.Capabilities())
	switch {
	case errors.Is(err, syscall.ENOTSUP):
		a.log.Warn("capabilities are kept: this binary was built with cgo, without which (CGO_ENABLED=0) weir drops those that it does not need")
	case err != nil:
		a.log.Warn("capabilities are kept, or some of them", "error", err)
	default:
		a.log.Info("dropped what is not needed any more", "capabilities_kept", state.Permitted.String())
	}
}

// needs is what may still come. Programs are loaded when the first snapshot comes that captures something. Called with Agent.mu held.
func (c *capture) needs(i *model.Interception) privilege.Needs {
	if i == nil {
		i = &model.Interception{}
	}
	if i.Disabled {
		return privilege.Needs{Intercept: i.Acceleration.Mode != model.AccelerateNothing}
	}
	return privilege.Needs{
		Intercept: true, Namespaces: !i.Namespaces.OwnOnly,
		Mount: c.persistence.Persistence != model.PersistProcess && c.kernel.Load() == nil,
	}
}
