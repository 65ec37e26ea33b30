package hcm

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// details is what a configuration was compiled to beside its filters, routes and access logs.
type details struct {
	serverName string
	localReply *localReply // nil: replies stay as they are
	early      []filter.EarlyMutation
	origins    []filter.OriginalIP
}

func (m *Manager) compileDetails(cfg *model.HTTPConnectionManager) (details, error) {
	d := details{serverName: cfg.ServerName}
	if d.serverName == "" {
		d.serverName = "envoy"
	}
	var errs []error
	for i, x := range cfg.EarlyMutations {
		e, ok := x.(filter.EarlyMutation)
		if !ok {
			errs = append(errs, fmt.Errorf("early header mutation %d: configuration of type %T is none", i, x))
			continue
		}
		d.early = append(d.early, e)
	}
	for i, x := range cfg.IPDetectors {
		o, ok := x.(filter.OriginalIP)
		if !ok {
			errs = append(errs, fmt.Errorf("original ip detection %d: configuration of type %T is none", i, x))
			continue
		}
		d.origins = append(d.origins, o)
	}
	var err error
	if d.localReply, err = m.compileLocalReply(cfg.LocalReply); err != nil {
		errs = append(errs, fmt.Errorf("local reply: %w", err))
	}
	return d, errors.Join(errs...)
}

// withRuntime is cfg with the runtime's answers in place of what it leaves open. As in Envoy they are asked for when the
// connection manager is made, and numbers of normalize_path are percentages of which a draw decides.
func withRuntime(cfg *model.HTTPConnectionManager, runtime *model.Runtime) *model.HTTPConnectionManager {
	if runtime == nil {
		return cfg
	}
	own := *cfg
	if kb, ok := runtime.Number(model.RuntimeMaxHeadersKB); ok && cfg.MaxHeadersBytesDefault {
		own.MaxRequestHeadersBytes = int(min(max(kb, 1), 8192)) << 10
	}
	if n, ok := runtime.Number(model.RuntimeMaxHeaders); ok && cfg.MaxHeadersCountDefault {
		own.MaxHeadersCount = int(min(max(n, 1), 1<<20))
	}
	if percent, ok := runtime.Number(model.RuntimeNormalizePath); ok && cfg.NormalizePathDefault {
		own.NormalizePath = random()%100 < percent
	}
	if cfg.InternalDefault && runtime.Flag(model.RuntimeExplicitInternal, false) {
		own.InternalCIDRs = []netip.Prefix{}
	}
	if n, ok := runtime.Number(model.RuntimeEscapedSlashes); ok && cfg.EscapedSlashesDefault {
		switch n { // the numbers of PathWithEscapedSlashesAction
		case 2:
			own.EscapedSlashes = model.EscapedReject
		case 3:
			own.EscapedSlashes = model.EscapedUnescapeRedirect
		case 4:
			own.EscapedSlashes = model.EscapedUnescapeForward
		}
	}
	return &own
}
