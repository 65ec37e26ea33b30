package httprouter

import (
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// FuzzRequestHeaders lets requests ask for what they like: nothing of it may harm, and none of the headers that are for us
// may go on to the upstream.
func FuzzRequestHeaders(f *testing.F) {
	f.Add("x-envoy-retry-on: 5xx,,connect-failure\nx-envoy-max-retries: 3\nx-envoy-retriable-status-codes: 500, 5x\ngrpc-timeout: 5S")
	f.Add("x-envoy-upstream-rq-timeout-ms: 99999999999\nx-envoy-upstream-rq-per-try-timeout-ms: 1\ncookie: a=b; id=\"\nx-envoy-hedge-on-per-try-timeout: true")
	f.Add("content-type: application/grpc\ngrpc-timeout: 99999999H\nx-envoy-upstream-stream-duration-ms: 0")
	filt, _ := newFakeFilter(f)
	f.Fuzz(func(t *testing.T, text string) {
		req := &message.Request{Method: "GET", Path: "/"}
		for line := range strings.SplitSeq(text, "\n") {
			if k, v, ok := strings.Cut(line, ": "); ok {
				req.Headers.Add(k, v)
			}
		}
		rt := fakeRoute()
		rt.Route.Action.GRPCTimeoutMax = 0
		s := &filter.Stream{Request: req, Info: &streaminfo.Info{}}
		asked := controlsOf(&req.Headers)
		limits := filt.takeTimeouts(s, &rt, nil, asked)
		if limits.global < 0 || limits.perTry < 0 || limits.life < 0 {
			t.Errorf("negative timeouts %+v", limits)
		}
		var r retryState
		r.begin(nil, req, asked, nil)
		x := &exchange{s: s}
		x.takeRare(asked)
		x.hash([]model.HashPolicy{{Cookie: "id", CookieTTL: -1}, {Header: "x-a"}, {QueryParameter: "q"}})
		for _, id := range []message.ID{
			message.XEnvoyRetryOn, message.XEnvoyMaxRetries, message.XEnvoyUpstreamRQTimeoutMS, message.XEnvoyUpstreamAltStatName,
			message.XEnvoyHedgeOnPerTryTimeout, message.XEnvoyRetriableHeaderNames,
		} {
			if req.Headers.Has(id) && req.Headers.Get(id) != "" {
				t.Errorf("%s goes on: %q", id.Name(), req.Headers.Get(id))
			}
		}
	})
}
