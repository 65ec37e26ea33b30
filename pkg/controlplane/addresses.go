package controlplane

import (
	"fmt"
	"net"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
)

// addressesOf are the addresses at which a listener wants to accept, with their protocols. Port 0 is any free port, so it
// is not among them, nor are those of listeners that do not bind.
func addressesOf(m proto.Message) []string {
	l, ok := m.(*listenerv3.Listener)
	if !ok || l.GetBindToPort() != nil && !l.GetBindToPort().GetValue() {
		return nil
	}
	var out []string
	add := func(a *corev3.Address) {
		switch s := a.GetSocketAddress(); {
		case a.GetPipe() != nil:
			out = append(out, a.GetPipe().GetPath())
		case s.GetPortValue() != 0:
			out = append(out, s.GetProtocol().String()+" "+net.JoinHostPort(s.GetAddress(), strconv.Itoa(int(s.GetPortValue()))))
		}
	}
	add(l.GetAddress())
	for _, a := range l.GetAdditionalAddresses() {
		add(a.GetAddress())
	}
	return out
}

// clashes tells of listeners of the set that want the same address, of which clients would reject one.
func (s *set) clashes() (errs []error) {
	owner := map[string]*item{}
	for _, i := range s.tables[resource.ListenerType].sorted() {
		for _, a := range i.addresses {
			other := owner[a]
			if other == nil {
				owner[a] = i
				continue
			}
			at, place := "", ""
			if other.origin != "" {
				at = ", at " + other.origin
			}
			if i.origin != "" {
				place = i.origin + ": "
			}
			errs = append(errs, fmt.Errorf("%sserve %s: it has the address %s of %s%s", place, i.describe(), a, other.describe(), at))
		}
	}
	return errs
}
