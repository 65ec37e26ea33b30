package translate

import (
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func parse[M proto.Message](t *testing.T, text string, into M) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
	return into
}

// minimal resources: nothing that has a default is set.
const (
	minimalHCM = `{"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "s", "rds": {"route_config_name": "r", "config_source": {"ads": {}, "resource_api_version": "V3"}}, "http_filters": [{"name": "envoy.router"}]}`
	minimalTCP = `{"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "s", "cluster": "c"}`
	minimalTLS = `{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context":
		{"tls_certificates": [{"certificate_chain": {"filename": "cert.pem"}, "private_key": {"filename": "key.pem"}}]}}`
	minimalListener = `{"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 1}}, "filter_chains": [
		{"filters": [{"name": "h", "typed_config": ` + minimalHCM + `}], "transport_socket": {"name": "t", "typed_config": ` + minimalTLS + `}},
		{"filter_chain_match": {"destination_port": 2}, "filters": [{"name": "h", "typed_config": ` + minimalTCP + `}]}]}`
	minimalCluster = `{"name": "c", "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config":
		{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}}`
	minimalRoute = `{"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
		{"match": {"prefix": "/"}, "route": {"cluster": "c", "retry_policy": {}}}, {"match": {"prefix": "/"}, "redirect": {}}]}]}`
)

// TestDefaults holds every default value of Envoy that the translator fills in.
func TestDefaults(t *testing.T) {
	tr := testTranslator(t)
	l, _, err := tr.Listener(parse(t, minimalListener, &listenerv3.Listener{}), Meta{})
	if err != nil {
		t.Fatal(err)
	}
	cl, _, err := tr.Cluster(parse(t, minimalCluster, &clusterv3.Cluster{}), Meta{})
	if err != nil {
		t.Fatal(err)
	}
	rc, _, err := tr.RouteConfig(parse(t, minimalRoute, &routev3.RouteConfiguration{}), Meta{})
	if err != nil {
		t.Fatal(err)
	}
	la, _, err := tr.LoadAssignment(parse(t, `{"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "::ffff:1.2.3.4", "port_value": 1}}}}]}]}`, &endpointv3.ClusterLoadAssignment{}), Meta{})
	if err != nil {
		t.Fatal(err)
	}
	h := l.FilterChains[0].Filters[0].Config.(*model.HTTPConnectionManager)
	tcp := l.FilterChains[1].Filters[0].Config.(*model.TCPProxy)
	down := l.FilterChains[0].TLS
	action, redirect := rc.VirtualHosts[0].Routes[0].Action, rc.VirtualHosts[0].Routes[1].Redirect
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"bind_to_port", l.BindToPort, true},
		{"listener buffer limit", l.PerConnectionBufferLimit, 1 << 20},
		{"listener_filters_timeout", l.ListenerFiltersTimeout, 15 * time.Second},
		{"tcp_backlog_size", l.TCPBacklog, 0},
		{"transport_socket_connect_timeout", l.FilterChains[0].TransportSocketConnectTimeout, time.Duration(0)},
		{"downstream TLS minimum", down.MinVersion, uint16(0x0303)},
		{"downstream TLS maximum", down.MaxVersion, uint16(0x0304)},
		{"session tickets", down.SessionTickets, true},
		{"upstream TLS minimum", cl.TLS.MinVersion, uint16(0x0303)},
		{"upstream TLS maximum", cl.TLS.MaxVersion, uint16(0x0303)},
		{"upstream verification", cl.TLS.Validation == nil, true},
		{"codec_type", h.CodecType, model.CodecAuto},
		{"server_name", h.ServerName, "envoy"},
		{"generate_request_id", h.GenerateRequestID, true},
		{"use_remote_address", h.UseRemoteAddress, false},
		{"normalize_path", h.NormalizePath, false},
		{"internal addresses", len(h.InternalCIDRs), 6},
		{"allow_absolute_url", h.HTTP1.AllowAbsoluteURL, true},
		{"connection idle_timeout", h.IdleTimeout, time.Hour},
		{"stream_idle_timeout", h.StreamIdleTimeout, 5 * time.Minute},
		{"request_timeout", h.RequestTimeout, time.Duration(0)},
		{"request_headers_timeout", h.RequestHeadersTimeout, time.Duration(0)},
		{"delayed_close_timeout", h.DelayedCloseTimeout, time.Second},
		{"max_request_headers_kb", h.MaxRequestHeadersBytes, 60 << 10},
		{"max_headers_count", h.MaxHeadersCount, 100},
		{"RDS initial_fetch_timeout", h.RouteSource.InitialFetchTimeout, 15 * time.Second},
		{"tcp idle_timeout", tcp.IdleTimeout, time.Hour},
		{"max_connect_attempts", tcp.MaxConnectAttempts, 1},
		{"connect_timeout", cl.ConnectTimeout, 5 * time.Second},
		{"cluster type", cl.Type, model.ClusterStatic},
		{"lb_policy", cl.LB, model.LBRoundRobin},
		{"choice_count", cl.LeastRequest.ChoiceCount, 2},
		{"active_request_bias", cl.LeastRequest.ActiveRequestBias, 1.0},
		{"max_connections", cl.Breakers[0].MaxConnections, uint32(1024)},
		{"max_pending_requests", cl.Breakers[0].MaxPendingRequests, uint32(1024)},
		{"max_requests", cl.Breakers[1].MaxRequests, uint32(1024)},
		{"max_retries", cl.Breakers[1].MaxRetries, uint32(3)},
		{"dns_refresh_rate", cl.DNS.RefreshRate, 5 * time.Second},
		{"dns_lookup_family", cl.DNS.Family, model.DNSAuto},
		{"cleanup_interval", cl.CleanupInterval, 5 * time.Second},
		{"pool idle_timeout", cl.IdleTimeout, time.Hour},
		{"TCP pool idle_timeout", cl.TCPIdleTimeout, 10 * time.Minute},
		{"healthy_panic_threshold", cl.PanicThreshold, 50.0},
		{"upstream protocol", cl.HTTP.Protocol, model.UpstreamHTTP1},
		{"max_direct_response_body_size_bytes", rc.MaxDirectResponseBytes, 4096},
		{"validate_clusters of RDS", rc.ValidateClusters, false},
		{"case_sensitive", rc.VirtualHosts[0].Routes[0].Match.IgnoreCase, false},
		{"route timeout", action.Timeout, 15 * time.Second},
		{"route idle_timeout", action.HasIdleTimeout, false},
		{"cluster_not_found_response_code", action.ClusterNotFoundCode, 503},
		{"max_stream_duration", action.HasMaxStreamDuration, false},
		{"num_retries", action.Retry.NumRetries, uint32(1)},
		{"retry base_interval, from the runtime", action.Retry.BaseInterval, time.Duration(0)},
		{"retry max_interval, from the runtime", action.Retry.MaxInterval, time.Duration(0)},
		{"host_selection_retry_max_attempts", action.Retry.HostSelectionAttempts, int64(1)},
		{"redirect response_code", redirect.Code, 301},
		{"overprovisioning_factor", la.OverprovisioningFactor, uint32(140)},
		{"endpoint weight", la.Localities[0].Endpoints[0].Weight, uint32(1)},
		{"mapped address", la.Localities[0].Endpoints[0].Address.String(), "1.2.3.4:1"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s is %v, want %v", tc.name, tc.got, tc.want)
		}
	}
}

func TestSubstitution(t *testing.T) {
	for in, want := range map[string]string{
		``: ``, `a`: `a`, `\0-\1`: `${0}-${1}`, `\12`: `${1}2`, `$1`: `$$1`, `\\1`: `\1`,
		`\2`: "error", `\`: "error", `\x`: "error",
	} {
		got, err := substitution(in, 1)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("substitution(%q) = %q (%v), want %q", in, got, err, want)
		}
	}
}

func TestRegexMatchesWhole(t *testing.T) {
	c := &call{}
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"a|b", "a", true}, {"a|b", "ab", false}, {"a|b", "b", true}, {"(?i)x", "X", true}, {"a$", "a", true}, {"a.*", "a\n", false}, {"(?s)a.*", "a\n", true},
	} {
		if got := c.fullRegex(tc.pattern, nil).MatchString(tc.text); got != tc.want {
			t.Errorf("%q matches %q: %v", tc.pattern, tc.text, got)
		}
	}
	for _, bad := range []string{"a)(b", "(", `\C`, "a{1001}"} {
		if c.fullRegex(bad, nil) != nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if len(c.errs) != 4 || !strings.Contains(c.errs[0].Error(), "a)(b") {
		t.Errorf("errors: %v", c.errs)
	}
}

func TestUnknownFields(t *testing.T) {
	m := parse(t, minimalCluster, &clusterv3.Cluster{})
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 9999, protowire.VarintType), 1))
	for _, tc := range []struct {
		name                                string
		dynamic, allowStatic, rejectDynamic bool
		want                                bool
	}{
		{"static", false, false, false, false},
		{"static, allowed", false, true, false, true},
		{"dynamic", true, false, false, true},
		{"dynamic, rejected", true, true, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr, err := New(Options{AllowUnknown: tc.allowStatic, RejectUnknownDynamic: tc.rejectDynamic})
			if err != nil {
				t.Fatal(err)
			}
			_, warnings, err := tr.Cluster(m, Meta{Dynamic: tc.dynamic})
			found := slices.ContainsFunc(warnings, func(w Warning) bool { return strings.Contains(w.Reason, "number 9999") })
			if (err == nil) != tc.want || found != tc.want {
				t.Errorf("warnings %v, error %v", warnings, err)
			}
		})
	}
}

func TestMeta(t *testing.T) {
	at := time.Unix(1, 0)
	cl, _, err := testTranslator(t).Cluster(parse(t, minimalCluster, &clusterv3.Cluster{}), Meta{Version: "7", Dynamic: true, UpdatedAt: at})
	if err != nil || cl.Version != "7" || !cl.Dynamic || !cl.UpdatedAt.Equal(at) || cl.Hash == 0 {
		t.Errorf("cluster %+v, %v", cl.Resource, err)
	}
}
