package httprouter

import (
	"strings"
	"testing"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

func TestDecode(t *testing.T) {
	if _, err := extension.NewRegistry(Factories()...); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		in   *routerv3.Router
		want *Config
		err  string
	}{
		{in: &routerv3.Router{}, want: &Config{DynamicStats: true}},
		{
			in: &routerv3.Router{
				DynamicStats: wrapperspb.Bool(false), SuppressEnvoyHeaders: true, RespectExpectedRqTimeout: true, StartChildSpan: true,
				StrictCheckHeaders: []string{"X-Envoy-Retry-On"},
			},
			want: &Config{SuppressEnvoyHeaders: true, RespectExpectedTimeout: true, StrictCheckHeaders: []message.ID{message.XEnvoyRetryOn}},
		},
		{in: &routerv3.Router{StrictCheckHeaders: []string{"x-other"}}, err: `strict_check_headers[0]: "x-other"`},
		{
			in: &routerv3.Router{SuppressGrpcRequestFailureCodeStats: true, UpstreamLogOptions: &routerv3.Router_UpstreamAccessLogOptions{
				FlushUpstreamLogOnUpstreamStream: true, UpstreamLogFlushInterval: durationpb.New(time.Second),
			}},
			want: &Config{DynamicStats: true, SuppressGRPCFailureStats: true, LogUpstreamStream: true, UpstreamLogInterval: time.Second},
		},
		{
			in:  &routerv3.Router{UpstreamLogOptions: &routerv3.Router_UpstreamAccessLogOptions{UpstreamLogFlushInterval: durationpb.New(5)}},
			err: "upstream_log_flush_interval: 5ns is less than 1ms",
		},
	} {
		got, err := decode(tc.in)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
			continue
		}
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	}
}

func TestParseRetryOn(t *testing.T) {
	for list, want := range map[string]struct {
		on    model.RetryOn
		known bool
	}{
		"":                          {0, true},
		"5xx, connect-failure":      {model.Retry5xx | model.RetryConnectFailure, true},
		"unavailable,never-heard":   {model.RetryGRPCUnavailable, false},
		"reset,reset,gateway-error": {model.RetryReset | model.RetryGatewayError, true},
	} {
		if on, known := parseRetryOn(list); on != want.on || known != want.known {
			t.Errorf("%q: %b, %v", list, on, known)
		}
	}
}

func TestWantsReset(t *testing.T) {
	for _, tc := range []struct {
		on   model.RetryOn
		kind upstream.Kind
		sent bool
		want bool
	}{
		{model.Retry5xx, upstream.KindConnect, false, true},
		{model.RetryConnectFailure, upstream.KindConnectTimeout, false, true},
		{model.RetryConnectFailure, upstream.KindTermination, true, false},
		{model.RetryRefusedStream, upstream.KindRefusedStream, true, true},
		{model.RetryRefusedStream, upstream.KindRemoteReset, true, false},
		{model.RetryReset, upstream.KindPerTryTimeout, true, true},
		{model.Retry5xx, upstream.KindOverflow, false, false},
		{model.Retry5xx, upstream.KindTimeout, true, false},
		{model.RetryResetBeforeRequest, upstream.KindConnect, false, true},
		{model.RetryResetBeforeRequest, upstream.KindTermination, true, false},
		{model.RetryRetriable4xx, upstream.KindConnect, false, false},
	} {
		r := retryState{on: tc.on}
		if got := r.wantsReset(tc.kind, tc.sent); got != tc.want {
			t.Errorf("%b with kind %d: %v", tc.on, tc.kind, got)
		}
	}
}

func TestWantsResponse(t *testing.T) {
	response := func(status int, headers ...string) *message.Response {
		r := &message.Response{Status: status}
		for _, h := range headers {
			k, v, _ := strings.Cut(h, ": ")
			r.Headers.Add(k, v)
		}
		return r
	}
	for _, tc := range []struct {
		on   model.RetryOn
		resp *message.Response
		want bool
	}{
		{model.Retry5xx, response(599), true},
		{model.Retry5xx, response(499), false},
		{model.Retry5xx, response(503, "x-envoy-ratelimited: true"), false},
		{model.RetryEnvoyRateLimited, response(429, "x-envoy-ratelimited: true"), true},
		{model.RetryGatewayError, response(501), false},
		{model.RetryRetriable4xx, response(409), true},
		{model.RetryRetriableStatusCodes, response(418), true},
		{model.RetryRetriableHeaders, response(200, "x-again: 1"), true},
		{model.RetryRetriableHeaders, response(200, "x-policy: yes"), true},
		{model.RetryGRPCUnavailable, response(200, "grpc-status: 14"), true},
		{model.RetryGRPCUnavailable, response(200, "grpc-status: 13"), false},
		{0, response(503), false},
	} {
		r := retryState{on: tc.on, codes: []uint32{418}, names: []string{"x-again"}, policy: &model.RetryPolicy{
			RetriableHeaders: []model.HeaderMatcher{{Name: "x-policy", String: model.StringMatcher{Value: "yes"}}},
		}}
		if got := r.wantsResponse(tc.resp); got != tc.want {
			t.Errorf("%b with %d: %v", tc.on, tc.resp.Status, got)
		}
	}
}

func TestBackOff(t *testing.T) {
	r := retryState{interval: 20 * time.Millisecond, max: 50 * time.Millisecond}
	for _, bound := range []time.Duration{20, 40, 50, 50} {
		if d := r.backOff(); d < 0 || d >= bound*time.Millisecond {
			t.Errorf("back-off %v is not below %d ms", d, bound)
		}
	}
}
