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
			"weir.interception.v1.Interception": effective("cgroups", "include", "exclude", "fail_policy", "disabled", "required", "inbound", "namespaces", "udp", "offload", "acceleration", "events", "life_cycle", "mark"),
			"weir.interception.v1.Inbound":      effective("mode", "include", "exclude", "include_loopback"),
			"weir.interception.v1.Range":        effective("prefix", "ports"),
			"weir.interception.v1.Namespaces":   effective("upstream", "paths", "own_only"),
			"weir.interception.v1.LifeCycle":    effective("persistence", "bpf_fs", "privileges"),
			"weir.interception.v1.Udp":          effective("rules"),
			"weir.interception.v1.Udp.Rule":     effective("prefix", "ports", "action"),
			"weir.interception.v1.Offload":      effective("mode", "exclude_listeners"),
			"weir.interception.v1.Acceleration": effective("mode", "applications", "max_unread_bytes", "min_operations"),
			"weir.interception.v1.Events":       effective("sample", "verdicts", "reasons", "cgroups", "destinations", "keep", "directions", "protocols"),
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
		Mark:       i.GetMark(),
		Offload: model.Offload{
			Off: i.GetOffload().GetMode() == interceptionv1.Offload_OFF, ExcludeListeners: i.GetOffload().GetExcludeListeners(),
		},
	}
	for n, name := range out.Cgroups {
		if err := checkCgroup(name); err != nil {
			errs = append(errs, fmt.Errorf("cgroups[%d]: %w", n, err))
		}
	}
	ranges := func(field string, list []*interceptionv1.Range) (all []model.CaptureRange) {
		for n, r := range list {
			ranges, err := captureRanges(fmt.Sprintf("%s[%d]", field, n), r)
			errs, all = append(errs, err), append(all, ranges...)
		}
		return all
	}
	out.Include, out.Exclude = ranges("include", i.GetInclude()), ranges("exclude", i.GetExclude())
	in := i.GetInbound()
	out.Inbound = model.Inbound{
		Off: in.GetMode() == interceptionv1.Inbound_OFF, IncludeLoopback: in.GetIncludeLoopback(),
		Include: ranges("inbound.include", in.GetInclude()), Exclude: ranges("inbound.exclude", in.GetExclude()),
	}
	var err error
	if out.LifeCycle, err = decodeLifeCycle(i.GetLifeCycle()); err != nil {
		errs = append(errs, fmt.Errorf("life_cycle.%w", err))
	}
	if out.Namespaces, err = decodeNamespaces(i.GetNamespaces()); err != nil {
		errs = append(errs, err)
	}
	if out.UDP, err = decodeUDP(i.GetUdp()); err != nil {
		errs = append(errs, err)
	}
	if out.Events, err = decodeEvents(i.GetEvents()); err != nil {
		errs = append(errs, err)
	}
	if out.Acceleration, err = decodeAcceleration(i.GetAcceleration()); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// captureRanges translates the range at a path of fields: into two of them, one for each address family, when it has no prefix.
func captureRanges(path string, r *interceptionv1.Range) ([]model.CaptureRange, error) {
	var errs []error
	prefixes := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	if r.GetPrefix() != "" {
		p, err := parsePrefix(r.GetPrefix())
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.prefix: %w", path, err))
		}
		prefixes = []netip.Prefix{p}
	}
	var ports []uint16
	for n, port := range r.GetPorts() {
		if port < 1 || port > 65535 {
			errs = append(errs, fmt.Errorf("%s.ports[%d]: port %d is not between 1 and 65535", path, n, port))
		}
		ports = append(ports, uint16(port))
	}
	var out []model.CaptureRange
	for _, p := range prefixes {
		out = append(out, model.CaptureRange{Prefix: p, Ports: ports})
	}
	return out, errors.Join(errs...)
}

// parsePrefix accepts a prefix or a single address, IPv4-mapped ones as IPv4. A zone is none of what the kernel tells weir's programs.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q must not have a zone: destinations are not told apart by it", s)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither a CIDR prefix nor an address", s)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}
