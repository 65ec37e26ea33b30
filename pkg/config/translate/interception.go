package translate

import (
	"errors"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/proto"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// interceptionFactory describes weir's own bootstrap extension. Its decoded form is a *model.Interception.
func interceptionFactory() extension.Factory {
	effective := func(names ...string) extension.Fields {
		fields := extension.Fields{}
		for _, n := range names {
			fields[n] = extension.Field{}
		}
		return fields
	}
	return extension.Factory{
		Category: extension.Bootstrap, Name: "weir.interception", Config: &interceptionv1.Interception{}, Decode: decodeInterception,
		Support: map[string]extension.Fields{
			"weir.interception.v1.Interception": effective("cgroups", "include", "exclude", "fail_policy", "disabled", "required"),
			"weir.interception.v1.Range":        effective("prefix", "ports"),
		},
	}
}

// decodeInterception translates an interceptionv1.Interception.
func decodeInterception(m proto.Message) (any, error) {
	i, ok := m.(*interceptionv1.Interception)
	if !ok {
		return nil, fmt.Errorf("unexpected message %s", m.ProtoReflect().Descriptor().FullName())
	}
	var errs []error
	out := &model.Interception{
		Cgroups:    i.GetCgroups(),
		FailClosed: i.GetFailPolicy() == interceptionv1.Interception_CLOSED,
		Disabled:   i.GetDisabled(),
		Required:   i.GetRequired(),
	}
	for n, r := range i.GetInclude() {
		ranges, err := captureRanges(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("include[%d].%w", n, err))
		}
		out.Include = append(out.Include, ranges...)
	}
	for n, r := range i.GetExclude() {
		ranges, err := captureRanges(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("exclude[%d].%w", n, err))
		}
		out.Exclude = append(out.Exclude, ranges...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// captureRanges translates one range: two of them, one for each address family, when it has no prefix.
func captureRanges(r *interceptionv1.Range) ([]model.CaptureRange, error) {
	prefixes := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	if r.GetPrefix() != "" {
		p, err := parsePrefix(r.GetPrefix())
		if err != nil {
			return nil, fmt.Errorf("prefix: %q is neither a CIDR prefix nor an address", r.GetPrefix())
		}
		prefixes = []netip.Prefix{p}
	}
	var ports []uint16
	for n, port := range r.GetPorts() {
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("ports[%d]: port %d is not between 1 and 65535", n, port)
		}
		ports = append(ports, uint16(port))
	}
	var out []model.CaptureRange
	for _, p := range prefixes {
		out = append(out, model.CaptureRange{Prefix: p, Ports: ports})
	}
	return out, nil
}

// parsePrefix accepts a prefix or a single address, IPv4-mapped ones as IPv4.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}
