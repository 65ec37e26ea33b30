package translate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Names of directions and protocols, and the reason that is about other protocols.
const (
	eventInbound, eventTCP, eventOther = "inbound", "tcp", "other"
	eventNotTCP                        = "not_tcp"
)

// eventVerdicts are the names of what the kernel may decide.
func eventVerdicts() []string { return []string{"pass", "redirect", "refuse", "offload"} }

// eventReasons are the names of why it may, in the order of bpf/types.h, and then those that datagrams and what comes in have beside
// (bpf/udp.h, bpf/inbound.h).
func eventReasons() []string {
	return []string{
		eventNotTCP, "disabled", "proxy_mark", "proxy_cgroup", "capture_socket", "excluded", "no_rule", "pass_rule", "captured",
		"no_capture_socket", "other_netns", "bound_device", "not_listening", "no_storage", "offloaded", "offload_unfit", "no_endpoint",
		"service_full", "policy_denied", "connection_limit", "rules_lost", "refuse_rule", "no_room", "not_captured", "foreign", "loopback",
		"own", "no_socket", "not_assigned", "other_program",
	}
}

// decodeEvents translates an interceptionv1.Events; nil records nothing.
func decodeEvents(e *interceptionv1.Events) (*model.Events, error) {
	if e == nil {
		return nil, nil
	}
	out := &model.Events{
		Sample: 1, Directions: e.GetDirections(), Protocols: e.GetProtocols(), Verdicts: e.GetVerdicts(), Reasons: e.GetReasons(),
		Cgroups: e.GetCgroups(), Keep: int(e.GetKeep()),
	}
	var errs []error
	if e.GetSample() != nil {
		if out.Sample = e.GetSample().GetValue(); !(out.Sample > 0 && out.Sample <= 1) {
			errs = append(errs, fmt.Errorf("sample: %v is not above 0 and at most 1", out.Sample))
		}
	}
	oneOf := func(field string, list, names []string) {
		for n, name := range list {
			if !slices.Contains(names, name) {
				errs = append(errs, fmt.Errorf("%s[%d]: %q is none of %s", field, n, name, strings.Join(names, ", ")))
			}
		}
	}
	oneOf("directions", out.Directions, []string{"outbound", eventInbound})
	oneOf("protocols", out.Protocols, []string{eventTCP, "udp", eventOther})
	oneOf("verdicts", out.Verdicts, eventVerdicts())
	oneOf("reasons", out.Reasons, eventReasons())
	for n, name := range out.Cgroups {
		if err := checkCgroup(name); err != nil {
			errs = append(errs, fmt.Errorf("cgroups[%d]: %w", n, err))
		}
	}
	for n, text := range e.GetDestinations() {
		prefix, err := parsePrefix(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("destinations[%d]: %w", n, err))
		}
		out.Destinations = append(out.Destinations, prefix)
	}
	if e.GetKeep() > model.MaxKeptEvents {
		errs = append(errs, fmt.Errorf("keep: %d is more than %d", e.GetKeep(), model.MaxKeptEvents))
	}
	if err := checkEventProtocols(out); err != nil && len(errs) == 0 {
		errs = append(errs, err)
	}
	for i, err := range errs {
		errs[i] = fmt.Errorf("events.%w", err)
	}
	return out, errors.Join(errs...)
}

// checkEventProtocols refuses protocols of which nothing could be recorded. The kernel looks at TCP alone of what comes in, and at other
// protocols just to say that they are not TCP.
func checkEventProtocols(e *model.Events) error {
	if len(e.Protocols) == 0 || slices.Contains(e.Protocols, eventTCP) {
		return nil
	}
	if len(e.Directions) > 0 && !slices.ContainsFunc(e.Directions, func(d string) bool { return d != eventInbound }) {
		return fmt.Errorf("protocols: %s alone is told of what comes in", eventTCP)
	}
	if !slices.ContainsFunc(e.Protocols, func(p string) bool { return p != eventOther }) && !slices.Contains(e.Reasons, eventNotTCP) {
		return fmt.Errorf("protocols: %s is told of for the reason %s alone, which reasons do not name", eventOther, eventNotTCP)
	}
	return nil
}
