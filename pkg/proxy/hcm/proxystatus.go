package hcm

import (
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// proxyError is an error type of RFC 9209 section 2.3 with the status that it recommends; 0 for none.
type proxyError struct {
	flag   streaminfo.Flags
	name   string
	status int
}

// proxyErrors maps response flags as Envoy does; the first that is set counts. Read only.
var proxyErrors = [...]proxyError{
	{streaminfo.FailedLocalHealthCheck, "destination_unavailable", 503},
	{streaminfo.NoHealthyUpstream, "destination_unavailable", 503},
	{streaminfo.UpstreamRequestTimeout, "http_response_timeout", 504},
	{streaminfo.LocalReset, "connection_timeout", 504},
	{streaminfo.UpstreamRemoteReset, "connection_terminated", 502},
	{streaminfo.UpstreamConnectionFailure, "connection_refused", 502},
	{streaminfo.UpstreamConnectionTermination, "connection_terminated", 502},
	{streaminfo.UpstreamOverflow, "connection_limit_reached", 503},
	{streaminfo.NoRouteFound, "destination_not_found", 500},
	{streaminfo.RateLimited, "connection_limit_reached", 503},
	{streaminfo.RateLimitServiceError, "connection_limit_reached", 503},
	{streaminfo.UpstreamRetryLimitExceeded, "destination_unavailable", 503},
	{streaminfo.StreamIdleTimeout, "http_response_timeout", 504},
	{streaminfo.InvalidEnvoyRequestHeaders, "http_request_error", 0},
	{streaminfo.DownstreamProtocolError, "http_request_error", 0},
	{streaminfo.UpstreamMaxStreamDurationReached, "http_response_timeout", 504},
	{streaminfo.NoFilterConfigFound, "proxy_configuration_error", 500},
	{streaminfo.UpstreamProtocolError, "http_protocol_error", 502},
	{streaminfo.NoClusterFound, "destination_unavailable", 503},
	{streaminfo.DNSResolutionFailed, "dns_error", 502},
}

// setProxyStatus appends what this proxy has to say about the response, when there is something.
func (s *stream) setProxyStatus(cfg *model.ProxyStatus, resp *message.Response) {
	for i := range proxyErrors {
		if e := &proxyErrors[i]; s.info.Flags&e.flag != 0 {
			appendTo(s, &resp.Headers, message.ProxyStatus, s.proxyStatus(cfg, e.name))
			if cfg.RecommendedStatus && e.status != 0 {
				resp.Status = e.status
			}
			return
		}
	}
}

// proxyStatus is one element of the header.
func (s *stream) proxyStatus(cfg *model.ProxyStatus, name string) string {
	m := s.conn.m
	proxy := m.serverName
	switch {
	case cfg.UseNodeID:
		proxy = m.deps.ServiceNode
	case cfg.Name != "":
		proxy = cfg.Name
	}
	value := proxy + "; error=" + name
	if cfg.RemoveDetails || s.info.Details == "" {
		return value
	}
	details := []string{s.info.Details}
	if t := s.conn.fc.Info.TerminationDetails; t != "" && !cfg.RemoveTerminationDetails {
		details = append(details, t)
	}
	if !cfg.RemoveFlags {
		details = append(details, s.info.Flags.String())
	}
	text := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(strings.Join(details, "; "))
	return value + `; details="` + text + `"`
}
