package format_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func sample() *format.Context {
	req := &message.Request{Method: "GET", Path: "/a?b=c", Authority: "example.com", Scheme: "http"}
	req.Headers.Add("user-agent", "curl/8")
	req.Headers.Add("X-Custom", "Value")
	resp := &message.Response{Status: 200}
	resp.Headers.Add("x-envoy-upstream-service-time", "3")
	resp.Headers.Add("content-type", "text/html")
	trailers := &message.Headers{}
	trailers.Add("x-sum", "abc")
	return &format.Context{
		Request: req, Response: resp, Trailers: trailers, Type: format.DownstreamEnd,
		Info: &streaminfo.Info{
			Conn: &streaminfo.Connection{
				ID: 7, Remote: netip.MustParseAddrPort("10.1.2.3:4567"), DirectRemote: netip.MustParseAddrPort("10.1.2.4:4568"),
				Local: netip.MustParseAddrPort("[::1]:80"), ServerName: "example.com", Namespace: &streaminfo.Namespace{Name: "blue"},
				Cgroup: streaminfo.Cgroup{ID: 5, Names: func(id uint64) (string, string) {
					return map[uint64]string{5: "/docker-c0ffee.scope"}[id], map[uint64]string{5: "c0ffee"}[id]
				}},
			},
			Start:    time.Date(2024, 2, 3, 4, 5, 6, 123456789, time.UTC),
			Duration: 1500 * time.Microsecond, ResponseCode: 200, Protocol: "HTTP/1.1", BytesSent: 12, Details: "via upstream",
			Timing:   streaminfo.Timing{LastDownstreamRx: 1e6, FirstUpstreamTx: 2e6, LastUpstreamTx: 3e6, FirstUpstreamRx: 5e6, LastDownstreamTx: 9e6},
			Upstream: streaminfo.Upstream{Host: netip.MustParseAddrPort("10.0.0.1:8080"), Cluster: "web", AttemptCount: 2},
			Flags:    streaminfo.UpstreamRetryLimitExceeded | streaminfo.NoHealthyUpstream,
			Dynamic:  map[string]map[string]any{"ns": {"s": "text", "n": 1.5, "m": map[string]any{"b": true, "a": []any{1.0, nil}}}},
			FilterState: map[string]any{
				"key": "plain",
			},
		},
	}
}

func TestOperators(t *testing.T) {
	for _, tc := range []struct{ format, want string }{
		{"plain 100%%", "plain 100%"},
		{"%REQ(:METHOD)% %REQ(:path)% %REQ(:AUTHORITY)%", "GET /a?b=c example.com"},
		{"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/a?b=c"},
		{"%REQ(x-custom):3%", "Val"},
		{"%REQ(missing)% %REQ(missing?also)%", "- -"},
		{"%REQ_WITHOUT_QUERY(:PATH)%", "/a"},
		{"%RESP(Content-Type)% %RESP(:STATUS)%", "text/html 200"},
		{"%TRAILER(x-sum)%", "abc"},
		{"%START_TIME%", "2024-02-03T04:05:06.123Z"},
		{"%START_TIME(%Y/%m/%d %H:%M:%S %3f %f %s)%", "2024/02/03 04:05:06 123 123456789 1706933106"},
		{"%START_TIME(%s%3f)%", "1706933106123"},
		{"%START_TIME(%E6S %E*f %e %j %a %b (x) %%)%", "06.123456 123456789  3 034 Sat Feb (x) %"},
		{"%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %REQUEST_TX_DURATION%", "1 1 5 4 3"},
		{"%COMMON_DURATION(DS_RX_END:US_RX_BEG:us)% %COMMON_DURATION(DS_RX_BEG:US_RX_END:ms)%", "4000 -"},
		{"%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "200 via_upstream UH,URX NoHealthyUpstream,UpstreamRetryLimitExceeded"},
		{"[%LOCAL_REPLY_BODY%]", "[]"}, // an empty one is there all the same
		{"%BYTES_SENT% %PROTOCOL% %CONNECTION_ID% %UPSTREAM_CONNECTION_ID%", "12 HTTP/1.1 7 -"},
		{"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%", "10.1.2.3:4567 10.1.2.3 4567"},
		{"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "[::1]:80 10.1.2.4:4568"},
		{"%UPSTREAM_HOST% %UPSTREAM_HOST_NAME% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_LOCAL_ADDRESS%", "10.0.0.1:8080 10.0.0.1:8080 web 2 -"},
		{"%DYNAMIC_METADATA(ns:s)% %DYNAMIC_METADATA(ns:n)% %DYNAMIC_METADATA(ns:m)% %DYNAMIC_METADATA(ns:x)%", `text 1.5 {"a":[1,null],"b":true} -`},
		{"%DYNAMIC_METADATA(ns:s):2% %METADATA(DYNAMIC:ns:s)%", "te text"},
		{"%FILTER_STATE(weir.network_namespace:PLAIN)% %FILTER_STATE(weir.network_namespace)%", `blue "blue"`},
		{"%FILTER_STATE(weir.cgroup:PLAIN)% %FILTER_STATE(weir.container:PLAIN)% %FILTER_STATE(weir.cgroup)%", `/docker-c0ffee.scope c0ffee "/docker-c0ffee.scope"`},
		{"%FILTER_STATE(key:PLAIN)% %FILTER_STATE(key)% %FILTER_STATE(none)%", `plain "plain" -`},
		{"%REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION% %ACCESS_LOG_TYPE%", "example.com - DownstreamEnd"},
		{"%GRPC_STATUS%", "-"},
	} {
		t.Run(tc.format, func(t *testing.T) {
			f, err := format.Compile(tc.format)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(f.Append(nil, sample()))); diff != "" {
				t.Error(diff)
			}
			f.Append(nil, &format.Context{}) // nothing known: must not panic
		})
	}
}

func TestForwardedClient(t *testing.T) {
	f, err := format.Compile("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%")
	if err != nil {
		t.Fatal(err)
	}
	c := sample()
	c.Client = netip.MustParseAddrPort("192.0.2.1:0")
	if got := string(f.Append(nil, c)); got != "192.0.2.1:0 192.0.2.1 10.1.2.4:4568" {
		t.Error(got)
	}
}

func TestDefaultFormat(t *testing.T) {
	f, err := format.Compile(format.Default)
	if err != nil {
		t.Fatal(err)
	}
	want := `[2024-02-03T04:05:06.123Z] "GET /a?b=c HTTP/1.1" 200 UH,URX 0 12 1 3 "-" "curl/8" "-" "example.com" "10.0.0.1:8080"` + "\n"
	if diff := cmp.Diff(want, string(f.Append(nil, sample()))); diff != "" {
		t.Error(diff)
	}
}

func TestGRPCStatus(t *testing.T) {
	c := sample()
	c.Request.Headers.Add("content-type", "application/grpc+proto")
	for _, tc := range []struct{ trailer, format, want string }{
		{"5", "%GRPC_STATUS%", "NotFound"},
		{"5", "%GRPC_STATUS(SNAKE_STRING)%", "NOT_FOUND"},
		{"5", "%GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%", "5 5"},
		{"", "%GRPC_STATUS%", "Unknown"},
	} {
		c.Trailers.Reset()
		if tc.trailer != "" {
			c.Trailers.Add("grpc-status", tc.trailer)
		}
		f, err := format.Compile(tc.format)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.Append(nil, c)); got != tc.want {
			t.Errorf("%s with %q: %q, want %q", tc.format, tc.trailer, got, tc.want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a %NO_SUCH%":                    "position 2: operator NO_SUCH: not known",
		"%REQ%":                          "operator REQ: needs arguments",
		"%REQ()%":                        "needs a header name",
		"%REQ(a?b?c)%":                   "more than one alternative",
		"%PROTOCOL(x)%":                  "takes no arguments",
		"%PROTOCOL:3%":                   "takes no length",
		"%START_TIME(%Q)%":               "conversion %Q is not known",
		"%REQ(a":                         "missing ')'",
		"100% sure":                      "expected an operator",
		"%":                              "expected an operator",
		"%COMMON_DURATION(A:B:ms)%":      "time point",
		"%GRPC_STATUS(LOUD)%":            "form",
		"%PROTOCOL":                      "missing '%'",
		"%CEL(request.path)%":            "operator CEL: not known",
		"%REQ(a):99999999999999999999%":  "missing ')'",
		"%FILTER_STATE(a:FIELD:x)%":      "form",
		"%METADATA(LISTENER:a)%":         "metadata kind",
		"%DYNAMIC_METADATA()%":           "needs the namespace",
		"%COMMON_DURATION(DS_RX_BEG:a)%": "wants START:END:PRECISION",
	} {
		_, err := format.Compile(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}

func TestJSON(t *testing.T) {
	tree := map[string]any{
		"code": "%RESPONSE_CODE%", "path": "%REQ(:PATH)%", "none": "%REQ(none)%", "mixed": "%PROTOCOL% %REQ(none)%",
		"meta": "%DYNAMIC_METADATA(ns:m)%", "list": []any{"%BYTES_SENT%", 1.0, true}, "agent": "a\"%REQ(user-agent)%\n",
		"deep": map[string]any{"none": "%REQ(none)%"},
	}
	for _, tc := range []struct {
		name string
		opt  format.JSONOptions
		want string
	}{
		{"typed", format.JSONOptions{Typed: true}, `{"agent":"a\"curl/8\n","code":200,"deep":{"none":null},"list":[12,1,true],` +
			`"meta":{"a":[1,null],"b":true},"mixed":"HTTP/1.1 -","none":null,"path":"/a?b=c"}`},
		{"strings", format.JSONOptions{}, `{"agent":"a\"curl/8\n","code":"200","deep":{"none":"-"},"list":["12",1,true],` +
			`"meta":"{\"a\":[1,null],\"b\":true}","mixed":"HTTP/1.1 -","none":"-","path":"/a?b=c"}`},
		{"omit", format.JSONOptions{Typed: true, OmitEmpty: true}, `{"agent":"a\"curl/8\n","code":200,"deep":{},"list":[12,1,true],` +
			`"meta":{"a":[1,null],"b":true},"mixed":"HTTP/1.1 ","path":"/a?b=c"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j, err := format.CompileJSON(tree, tc.opt)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want+"\n", string(j.Append(nil, sample()))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoAllocations(t *testing.T) {
	f, err := format.Compile(format.Default)
	if err != nil {
		t.Fatal(err)
	}
	c := sample()
	c.Info.Flags = 0
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = f.Append(buf[:0], c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
