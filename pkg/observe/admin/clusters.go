package admin

import (
	"bytes"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
)

// clusters answers /clusters, cluster by cluster, so that the size of the answer is never held.
func (s *Server) clusters(p *reply, r *request) error {
	filter, err := regexp.Compile(r.query["filter"])
	if err != nil {
		p.text(http.StatusBadRequest, "Invalid re2 regex")
		return nil
	}
	all := iter.Seq[Cluster](func(func(Cluster) bool) {})
	if s.opt.Clusters != nil {
		all = s.opt.Clusters.Clusters(filter.MatchString)
	}
	if r.query["format"] == "json" {
		return p.stream(func(j *jsonStream) {
			j.list("cluster_statuses", func(yield func(proto.Message) bool) {
				for c := range all {
					if !yield(c.Status) {
						return
					}
				}
			})
		})
	}
	p.start()
	var b bytes.Buffer
	for c := range all {
		writeCluster(&b, c)
		if b.Len() < streamBuffer {
			continue
		}
		if _, err := b.WriteTo(p); err != nil {
			return nil // the client has gone
		}
	}
	_, _ = b.WriteTo(p)
	return nil
}

// writeCluster writes the lines of a cluster: "name::key::value".
func writeCluster(b *bytes.Buffer, c Cluster) {
	status := c.Status
	line := func(key, value string) { b.WriteString(status.GetName() + "::" + key + "::" + value + "\n") }
	line("observability_name", status.GetObservabilityName())
	if o := c.Outlier; o != nil {
		line("outlier::success_rate_average", number(o.SuccessRate))
		line("outlier::success_rate_ejection_threshold", percent(status.GetSuccessRateEjectionThreshold().GetValue(), status.GetSuccessRateEjectionThreshold() != nil))
		line("outlier::local_origin_success_rate_average", number(o.LocalOriginSuccessRate))
		line("outlier::local_origin_success_rate_ejection_threshold", percent(status.GetLocalOriginSuccessRateEjectionThreshold().GetValue(), status.GetLocalOriginSuccessRateEjectionThreshold() != nil))
	}
	for _, t := range status.GetCircuitBreakers().GetThresholds() {
		writeBreaker(line, t)
	}
	line("added_via_api", strconv.FormatBool(status.GetAddedViaApi()))
	if name := status.GetEdsServiceName(); name != "" {
		line("eds_service_name", name)
	}
	for i, h := range status.GetHostStatuses() {
		writeHost(line, h, i < len(c.Canary) && c.Canary[i])
	}
}

func writeBreaker(line func(key, value string), t *clusterv3.CircuitBreakers_Thresholds) {
	prefix := "default_priority::"
	if t.GetPriority() == corev3.RoutingPriority_HIGH {
		prefix = "high_priority::"
	}
	uint := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	line(prefix+"max_connections", uint(t.GetMaxConnections().GetValue()))
	line(prefix+"max_pending_requests", uint(t.GetMaxPendingRequests().GetValue()))
	line(prefix+"max_requests", uint(t.GetMaxRequests().GetValue()))
	line(prefix+"max_retries", uint(t.GetMaxRetries().GetValue()))
}

func writeHost(line func(key, value string), h *adminv3.HostStatus, canary bool) {
	address := addressOf(h.GetAddress())
	stats := slices.SortedFunc(slices.Values(h.GetStats()), func(a, b *adminv3.SimpleMetric) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
	for _, m := range stats {
		line(address+"::"+m.GetName(), strconv.FormatUint(m.GetValue(), 10))
	}
	for _, field := range [...]struct{ key, value string }{
		{"hostname", h.GetHostname()},
		{"health_flags", healthFlags(h.GetHealthStatus())},
		{"weight", strconv.FormatUint(uint64(h.GetWeight()), 10)},
		{"region", h.GetLocality().GetRegion()},
		{"zone", h.GetLocality().GetZone()},
		{"sub_zone", h.GetLocality().GetSubZone()},
		{"canary", strconv.FormatBool(canary)},
		{"priority", strconv.FormatUint(uint64(h.GetPriority()), 10)},
		{"success_rate", percent(h.GetSuccessRate().GetValue(), h.GetSuccessRate() != nil)},
		{"local_origin_success_rate", percent(h.GetLocalOriginSuccessRate().GetValue(), h.GetLocalOriginSuccessRate() != nil)},
	} {
		line(address+"::"+field.key, field.value)
	}
}

// healthFlags is "healthy", or all that is wrong in Envoy's order.
func healthFlags(h *adminv3.HostHealthStatus) string {
	eds := h.GetEdsHealthStatus()
	var b strings.Builder
	for _, flag := range [...]struct {
		set  bool
		name string
	}{
		{h.GetFailedActiveHealthCheck(), "/failed_active_hc"},
		{h.GetFailedOutlierCheck(), "/failed_outlier_check"},
		{eds == corev3.HealthStatus_UNHEALTHY || eds == corev3.HealthStatus_TIMEOUT, "/failed_eds_health"},
		{h.GetFailedActiveDegradedCheck(), "/degraded_active_hc"},
		{eds == corev3.HealthStatus_DEGRADED, "/degraded_eds_health"},
		{h.GetPendingDynamicRemoval(), "/pending_dynamic_removal"},
		{h.GetPendingActiveHc(), "/pending_active_hc"},
		{h.GetExcludedViaImmediateHcFail(), "/excluded_via_immediate_hc_fail"},
		{h.GetActiveHcTimeout(), "/active_hc_timeout"},
		{eds == corev3.HealthStatus_DRAINING, "/eds_status_draining"},
	} {
		if flag.set {
			b.WriteString(flag.name)
		}
	}
	if b.Len() == 0 {
		return "healthy"
	}
	return b.String()
}

// percent is a rate that may be unknown, which Envoy prints as -1.
func percent(v float64, known bool) string {
	if !known {
		return "-1"
	}
	return number(v)
}

// number has six significant digits, as C's %g.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// addressOf is an address as Envoy prints it: 10.0.0.1:80, [::1]:80, or the path of a unix socket.
func addressOf(a *corev3.Address) string {
	if pipe := a.GetPipe(); pipe != nil {
		return pipe.GetPath()
	}
	if internal := a.GetEnvoyInternalAddress(); internal != nil {
		return fmt.Sprintf("envoy://%s/%s", internal.GetServerListenerName(), internal.GetEndpointId())
	}
	s := a.GetSocketAddress()
	if ip, err := netip.ParseAddr(s.GetAddress()); err == nil && s.GetPortValue() <= 65535 {
		return netip.AddrPortFrom(ip, uint16(s.GetPortValue())).String()
	}
	return fmt.Sprintf("%s:%d", s.GetAddress(), s.GetPortValue())
}

// listeners answers /listeners.
func (s *Server) listeners(p *reply, r *request) error {
	list := &adminv3.Listeners{}
	if s.opt.Listeners != nil {
		list = s.opt.Listeners.Listeners()
	}
	if r.query["format"] == "json" {
		return p.message(list, false)
	}
	var b bytes.Buffer
	for _, l := range list.GetListenerStatuses() {
		for _, a := range append([]*corev3.Address{l.GetLocalAddress()}, l.GetAdditionalLocalAddresses()...) {
			b.WriteString(l.GetName() + "::" + addressOf(a) + "\n")
		}
	}
	p.text(http.StatusOK, b.String())
	return nil
}
