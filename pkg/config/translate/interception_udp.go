package translate

import (
	"errors"
	"fmt"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// decodeUDP translates the rules for datagrams.
func decodeUDP(m *interceptionv1.Udp) (out []model.UDPPolicy, err error) {
	var errs []error
	for n, r := range m.GetRules() {
		var action model.UDPAction
		switch r.GetAction() {
		case interceptionv1.Udp_PASS:
			action = model.UDPPass
		case interceptionv1.Udp_PROXY:
			action = model.UDPProxied
		case interceptionv1.Udp_REFUSE:
			action = model.UDPRefuse
		default:
			errs = append(errs, fmt.Errorf("udp.rules[%d].action: %d is none of PASS, PROXY and REFUSE", n, r.GetAction()))
		}
		ranges, err := captureRanges(fmt.Sprintf("udp.rules[%d]", n), &interceptionv1.Range{Prefix: r.GetPrefix(), Ports: r.GetPorts()})
		errs = append(errs, err)
		for _, at := range ranges {
			out = append(out, model.UDPPolicy{Prefix: at.Prefix, Ports: at.Ports, Action: action, Rule: n})
		}
	}
	return out, errors.Join(errs...)
}
