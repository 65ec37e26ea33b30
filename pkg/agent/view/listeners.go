package view

import (
	"net/netip"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// Listeners shows the listeners of the snapshot in force.
type Listeners struct {
	// Snapshot gives the snapshot in force; nil before the first.
	Snapshot func() *model.Snapshot
	// Bound gives the addresses that a listener's sockets are really bound to, for ports that were configured as 0. The
	// configured ones are shown where it gives none; it may be nil.
	Bound func(name string) []netip.AddrPort
}

var _ admin.Listeners = Listeners{}

// Listeners implements admin.Listeners, in order of their names.
func (v Listeners) Listeners() *adminv3.Listeners {
	out := &adminv3.Listeners{}
	snapshot := v.Snapshot()
	if snapshot == nil {
		return out
	}
	for name, l := range snapshot.Listeners.Sorted() {
		addresses := v.addresses(l)
		out.ListenerStatuses = append(out.ListenerStatuses, &adminv3.ListenerStatus{
			Name: name, LocalAddress: addresses[0], AdditionalLocalAddresses: addresses[1:],
		})
	}
	return out
}

// addresses gives at least one.
func (v Listeners) addresses(l *model.Listener) []*corev3.Address {
	if l.Pipe != "" {
		return []*corev3.Address{pipeAddress(l.Pipe)}
	}
	at := append([]netip.AddrPort{l.Address}, l.AdditionalAddresses...)
	if v.Bound != nil {
		if bound := v.Bound(l.Name); len(bound) > 0 {
			at = bound
		}
	}
	out := make([]*corev3.Address, 0, len(at))
	for _, a := range at {
		address := socketAddress(a)
		if l.UDP != nil {
			address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
		}
		out = append(out, address)
	}
	return out
}
