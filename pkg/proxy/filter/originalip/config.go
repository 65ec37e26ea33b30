package originalip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factories describes both extensions.
func Factories() []extension.Factory {
	return []extension.Factory{
		{
			Category: extension.OriginalIPDetections, Name: "envoy.http.original_ip_detection.xff", Config: &xffv3.XffConfig{},
			Decode: func(m proto.Message) (any, error) { return decodeXFF(m.(*xffv3.XffConfig)) },
			Support: map[string]extension.Fields{
				"envoy.extensions.http.original_ip_detection.xff.v3.XffConfig":       {"xff_num_trusted_hops": {}, "xff_trusted_cidrs": {}, "skip_xff_append": {}},
				"envoy.extensions.http.original_ip_detection.xff.v3.XffTrustedCidrs": {"cidrs": {}},
			},
		},
		{
			Category: extension.OriginalIPDetections, Name: "envoy.http.original_ip_detection.custom_header",
			Config: &customv3.CustomHeaderConfig{},
			Decode: func(m proto.Message) (any, error) { return decodeCustom(m.(*customv3.CustomHeaderConfig)), nil },
			Support: map[string]extension.Fields{
				"envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig": {
					"header_name": {}, "allow_extension_to_set_address_as_trusted": {}, "reject_with_status": {},
				},
				"envoy.type.v3.HttpStatus": {"code": {}},
			},
		},
	}
}

func decodeXFF(m *xffv3.XffConfig) (*XFF, error) {
	out := &XFF{Hops: int(m.GetXffNumTrustedHops()), Append: m.GetSkipXffAppend() != nil && !m.GetSkipXffAppend().GetValue()}
	if m.GetXffTrustedCidrs() == nil {
		return out, nil
	}
	var errs []error
	if out.Hops > 0 {
		errs = append(errs, errors.New("xff_trusted_cidrs: cannot be set together with xff_num_trusted_hops"))
	}
	out.Trusted = []netip.Prefix{}
	for i, r := range m.GetXffTrustedCidrs().GetCidrs() {
		p, err := prefix(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("xff_trusted_cidrs.cidrs[%d]: %w", i, err))
			continue
		}
		out.Trusted = append(out.Trusted, p)
	}
	return out, errors.Join(errs...)
}

func prefix(r *corev3.CidrRange) (netip.Prefix, error) {
	a, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("address_prefix: %w", err)
	}
	p, err := a.Unmap().Prefix(int(r.GetPrefixLen().GetValue()))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("prefix_len: %w", err)
	}
	return p, nil
}

// decodeCustom takes 403 for statuses that are no errors, as Envoy does.
func decodeCustom(m *customv3.CustomHeaderConfig) *CustomHeader {
	out := &CustomHeader{Name: strings.ToLower(m.GetHeaderName()), Trusted: m.GetAllowExtensionToSetAddressAsTrusted()}
	if s := m.GetRejectWithStatus(); s != nil {
		out.RejectStatus = int(s.GetCode())
		if out.RejectStatus < 400 || out.RejectStatus > 511 {
			out.RejectStatus = 403
		}
	}
	return out
}
