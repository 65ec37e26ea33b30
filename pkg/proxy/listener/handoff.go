package listener

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// handOff finds the listener of an original destination. It is immutable. Listeners that a drain of inbound ones has stopped are not
// found; when all were stopped nothing new is handed off, and what was accepted before still finds its listener.
type handOff struct {
	byName   map[string]*active
	exact    map[netip.AddrPort]*active
	any4     map[uint16]*active // listeners at 0.0.0.0
	any6     map[uint16]*active // listeners at ::
	catchAll *active
	// inbound is the one of connections that come in; nil when there are no listeners for them. outbound is that of connections that
	// were captured on their way out.
	inbound, outbound *handOff
}

func newHandOff(listeners map[string]*active, left func(*model.Listener) bool) *handOff {
	h := &handOff{byName: maps.Clone(listeners), exact: map[netip.AddrPort]*active{}, any4: map[uint16]*active{}, any6: map[uint16]*active{}}
	all := make([]*active, 0, len(listeners))
	for _, a := range listeners {
		if !left(a.cfg) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *active) int { return strings.Compare(a.cfg.Name, b.cfg.Name) })
	for _, a := range all {
		for _, addr := range addresses(a.cfg) {
			addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
			switch {
			case !addr.Addr().IsUnspecified():
				setOnce(h.exact, addr, a)
			case addr.Addr().Is4():
				h.any4[addr.Port()] = a
			default:
				setOnce(h.any6, addr.Port(), a)
				if a.cfg.IPv4Compat {
					setOnce(h.any4, addr.Port(), a)
				}
			}
		}
		if a.cfg.UseOriginalDst && (h.catchAll == nil || catchRank(a.cfg) < catchRank(h.catchAll.cfg)) {
			h.catchAll = a
		}
	}
	return h
}

func setOnce[K comparable](m map[K]*active, key K, a *active) {
	if _, ok := m[key]; !ok {
		m[key] = a
	}
}

// catchRank orders the listeners that could take captured outbound connections nobody else is there for.
func catchRank(l *model.Listener) int {
	if l.TrafficDirection == model.TrafficOutbound {
		return 0
	}
	return 1
}

// find gives the listener at exactly this address, bound or not, else the one for any address on the port; nil when
// there is neither.
func (h *handOff) find(dst netip.AddrPort) *active {
	a, _ := h.at(dst)
	return a
}

// captured is find, with the listener that has use_original_dst for what is left.
func (h *handOff) captured(dst netip.AddrPort) *active {
	a, _ := h.lookUp(dst)
	return a
}

// at is find, and says how.
func (h *handOff) at(dst netip.AddrPort) (*active, Found) {
	if a := h.exact[dst]; a != nil {
		return a, FoundExact
	}
	a := h.any6[dst.Port()]
	if dst.Addr().Is4() {
		a = h.any4[dst.Port()]
	}
	if a == nil {
		return nil, FoundNone
	}
	return a, FoundAnyAddress
}

// lookUp is captured, and says how.
func (h *handOff) lookUp(dst netip.AddrPort) (*active, Found) {
	if a, found := h.at(dst); a != nil || h.catchAll == nil {
		return a, found
	}
	return h.catchAll, FoundCatchAll
}
