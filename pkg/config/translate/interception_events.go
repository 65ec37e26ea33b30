package translate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// eventVerdicts are the names of what the kernel may decide.
func eventVerdicts() []string { return []string{"pass", "redirect", "refuse", "offload"} }

// eventReasons are the names of why it may, in the order of bpf/types.h, and then those that datagrams and what comes in have beside
// (bpf/udp.h, bpf/inbound.h).
func eventReasons() []string {
	return []string{
		"not_tcp", "disabled", "proxy_mark", "proxy_cgroup", "capture_socket", "excluded", "no_rule", "pass_rule", "captured",
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
	out := &model.Events{Sample: 1, Verdicts: e.GetVerdicts(), Reasons: e.GetReasons(), Cgroups: e.GetCgroups(), Keep: int(e.GetKeep())}
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
	for i, err := range errs {
		errs[i] = fmt.Errorf("events.%w", err)
	}
	return out, errors.Join(errs...)
}
