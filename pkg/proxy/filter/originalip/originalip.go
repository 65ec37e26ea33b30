// Package originalip is Envoy's original IP detection: the client's address from x-forwarded-for or from another header.
//
// It owns the reading of forwarding headers. It must not know the connection manager, which adds to them. Its values are
// immutable.
package originalip

import (
	"net/netip"
	"strings"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// XFF finds the client in x-forwarded-for: envoy.http.original_ip_detection.xff.
type XFF struct {
	// Hops is how many entries from the right belong to trusted proxies.
	Hops int
	// Trusted are the networks of trusted proxies. When it is set Hops does not count: the client is the right-most
	// address outside them, or the left-most one.
	Trusted []netip.Prefix
	// Append adds the peer's address to x-forwarded-for.
	Append bool
}

var (
	_ filter.OriginalIP = (*XFF)(nil)
	_ filter.OriginalIP = (*CustomHeader)(nil)
)

// Detect implements filter.OriginalIP.
func (x *XFF) Detect(r *message.Request, peer netip.Addr) filter.Origin {
	if x.Trusted != nil && !within(x.Trusted, peer) {
		return filter.Origin{}
	}
	xff, _ := r.Headers.Joined("x-forwarded-for")
	o := filter.Origin{SkipAppend: !x.Append}
	if x.Trusted == nil {
		o.Client, o.Trusted = Forwarded(xff, x.Hops)
	} else {
		o.Client, o.Trusted = untrusted(xff, x.Trusted)
	}
	return o
}

// Forwarded is the address that is skip entries from the right of an x-forwarded-for list; single tells that the list has
// no other entry. The address is invalid when there is none.
func Forwarded(xff string, skip int) (a netip.Addr, single bool) {
	if xff == "" {
		return netip.Addr{}, false
	}
	single = strings.IndexByte(xff, ',') < 0
	for ; skip > 0; skip-- {
		i := strings.LastIndexByte(xff, ',')
		if i < 0 {
			return netip.Addr{}, false
		}
		xff = xff[:i]
	}
	if a = parse(xff[strings.LastIndexByte(xff, ',')+1:]); !a.IsValid() {
		return a, false
	}
	return a, single
}

// untrusted is the right-most address outside the trusted networks, else the left-most one.
func untrusted(xff string, trusted []netip.Prefix) (a netip.Addr, single bool) {
	if xff == "" {
		return netip.Addr{}, false
	}
	single = strings.IndexByte(xff, ',') < 0
	for {
		i := strings.LastIndexByte(xff, ',')
		if a = parse(xff[i+1:]); !a.IsValid() {
			return a, false
		}
		if i < 0 || !within(trusted, a) {
			return a, single
		}
		xff = xff[:i]
	}
}

func parse(s string) netip.Addr {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// CustomHeader finds the client in a header of its own: envoy.http.original_ip_detection.custom_header.
type CustomHeader struct {
	Name string
	// Trusted lets the address count as an internal one.
	Trusted bool
	// RejectStatus answers requests without the header or with another value than an address; 0 lets them pass.
	RejectStatus int
}

// Detect implements filter.OriginalIP.
func (h *CustomHeader) Detect(r *message.Request, _ netip.Addr) filter.Origin {
	if v, ok := r.Headers.Lookup(h.Name); ok {
		if a := parse(v); a.IsValid() {
			return filter.Origin{Client: a, Trusted: h.Trusted}
		}
	}
	return filter.Origin{RejectStatus: h.RejectStatus}
}
